"""Where the texts of settings come from: flags, environment, files, and which one counts. Pure.

Precedence: flag, environment, file, default. An empty variable counts as unset, as compose
files and Kubernetes leave them; an empty flag is a mistake, for `--approve "$EMPTY"` must not
approve everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sidecar.given import Given, shown, unknown
from sidecar.model import MigrationName
from sidecar.settings import SETTINGS, Setting, flag_of, input_names
from sidecar.settings_file import FileContent, add_file

__all__ = ["Inputs", "ReadText", "collect"]

ReadText = Callable[[str], str]
Layer = Mapping[str, Given]

_INJECTED = (
    r"SIDECAR_(?:\w+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes sets for a Service named `sidecar` or `sidecar-...` (its documentation,
"Service", environment variables); not meant for us, so not a mistake. Compiled when needed."""


class Inputs(NamedTuple):
    """The text that counts for each setting by key, and what is said of single migrations.

    A setting without text is left out; one whose text could not be had is '', and `mistakes`
    says why.
    """

    given: Mapping[str, Given]
    migrations: Mapping[MigrationName, Given]
    data_statements: Mapping[MigrationName, Given]
    mistakes: tuple[str, ...]


def collect(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, read_text: ReadText
) -> Inputs:
    """What was given; arguments as for `config.load`. Raises nothing: `mistakes` has it all."""
    mistakes: list[str] = []
    outer = (
        _flag_layer(flags, mistakes=mistakes),
        _environment_layer(environ, mistakes=mistakes),
    )
    content = _file_content(outer, read_text=read_text, mistakes=mistakes)
    layers = (*outer, content.settings)
    given = {}
    for setting in SETTINGS:
        text = _choose(setting, layers, read_text=read_text, mistakes=mistakes)
        if text is not None:
            given[setting.key] = text
    return Inputs(given, content.migrations, content.data_statements, tuple(mistakes))


def _flag_layer(flags: Mapping[str, str | None], *, mistakes: list[str]) -> dict[str, Given]:
    known = {key: flag_of(key) for key, _ in input_names()}
    layer = {}
    for key, text in flags.items():
        flag = flag_of(key)
        if text is None:
            continue
        if key not in known:
            mistakes.append(unknown("flag", flag, known.values()))
        elif not text.strip():
            mistakes.append(f"{flag}: is empty")
        else:
            layer[key] = Given(text.strip(), "flag", flag)
    return layer


def _environment_layer(environ: Mapping[str, str], *, mistakes: list[str]) -> dict[str, Given]:
    known = {variable: key for key, variable in input_names()}
    layer = {}
    for variable, text in environ.items():
        if not text.strip():
            continue
        if variable in known:
            layer[known[variable]] = Given(text.strip(), "environment", variable)
        elif variable.startswith("SIDECAR_") and not re.fullmatch(_INJECTED, variable):
            mistakes.append(unknown("variable", variable, known))
    return layer


def _file_content(
    outer: tuple[Layer, ...], *, read_text: ReadText, mistakes: list[str]
) -> FileContent:
    """What the main file and the policy file give together; the main one may name the other."""
    content = FileContent({}, {}, {})
    settings = {key for key, _ in input_names()} - {"config"}
    for key, keys in (("config", settings), ("policy_file", set[str]())):
        given = _first((*outer, content.settings), key)
        if given is None:
            continue
        text = _read(given, read_text=read_text, mistakes=mistakes)
        if text is not None:
            add_file(content, text, path=given.text, keys=keys, mistakes=mistakes)
    return content


def _first(layers: tuple[Layer, ...], key: str) -> Given | None:
    return next((layer[key] for layer in layers if key in layer), None)


def _read(given: Given, *, read_text: ReadText, mistakes: list[str]) -> str | None:
    """The text of the file that `given` names; None, with a mistake, where there is none."""
    try:
        return read_text(given.text)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:  # not UTF-8, or a NUL in the path; the text may quote the content
        reason = "not a UTF-8 text file"
    mistakes.append(f"{given.name}: cannot read {shown(given.text)}: {reason}")
    return None


def _choose(
    setting: Setting, layers: tuple[Layer, ...], *, read_text: ReadText, mistakes: list[str]
) -> Given | None:
    """The text that counts for a setting; '' where its file is unusable, None where it has none."""
    if not setting.file_variant:
        return _first(layers, setting.key) or _default(setting)
    for layer in layers:
        given, file = layer.get(setting.key), layer.get(f"{setting.key}_file")
        if given and file:
            mistakes.append(f"{given.name} and {file.name} are both given; keep one")
        if given:
            return given
        if file:
            text = _read(file, read_text=read_text, mistakes=mistakes)
            if text is not None and not text.strip():
                mistakes.append(f"{file.name}: {shown(file.text)} is empty")
            return Given((text or "").strip(), file.where, file.name)
    return None


def _default(setting: Setting) -> Given | None:
    return None if setting.default is None else Given(setting.default, "default")
