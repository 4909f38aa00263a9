# What a release builds: both images, for both architectures, with an SBOM and provenance
# attached. A package of Python has wheels for both, and Debian has PostgreSQL for both.
#
#   docker buildx bake --file deploy/docker-bake.hcl --print     # what would be built
#   docker buildx bake --file deploy/docker-bake.hcl local       # this machine's architecture
#
# Paths are of the repository's root, where the command is given.

variable "REGISTRY" { default = "registry.example/migration-sidecar" }
variable "VERSION" { default = "unknown" }
variable "REVISION" { default = "unknown" }

# A release names its base by digest: python:3.13-slim@sha256:...
variable "BASE_IMAGE" { default = "python:3.13-slim" }

group "default" { targets = ["slim", "embedded"] }
group "local" { targets = ["slim-local", "embedded-local"] }

target "common" {
  context = "."
  args = {
    BASE_IMAGE = BASE_IMAGE
    VERSION    = VERSION
    REVISION   = REVISION
  }
}

target "release" {
  inherits  = ["common"]
  platforms = ["linux/amd64", "linux/arm64"]
  attest = [
    "type=sbom",
    "type=provenance,mode=max",
  ]
}

target "slim" {
  inherits = ["release"]
  target   = "slim"
  tags     = ["${REGISTRY}:${VERSION}"]
}

target "embedded" {
  inherits = ["release"]
  target   = "embedded"
  tags     = ["${REGISTRY}:${VERSION}-embedded"]
}

target "slim-local" {
  inherits = ["common"]
  target   = "slim"
  tags     = ["migration-sidecar"]
  output   = ["type=docker"]
}

target "embedded-local" {
  inherits = ["common"]
  target   = "embedded"
  tags     = ["migration-sidecar:embedded"]
  output   = ["type=docker"]
}
