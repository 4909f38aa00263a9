"""migration-sidecar: repairs half-done Prisma migrations before a backend starts."""

__version__ = "0.1.0"
