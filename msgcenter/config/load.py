"""Reads a configuration folder into one immutable `Config`, or raises every problem in it at
once.

One file, for every step adds to the one list of problems that is told at the end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from msgcenter.clock import Clock
from msgcenter.config.categories import POLICY
from msgcenter.config.compiled import compiled
from msgcenter.config.crosscheck import Draft, crosscheck
from msgcenter.config.faults import explain
from msgcenter.config.policy import CityConfig, HolidaysConfig, PolicyConfig, WordsConfig
from msgcenter.config.problems import ConfigErrors, ConfigProblem, Mark, did_you_mean, dotted
from msgcenter.config.process import ProcessConfig
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    RoutesConfig,
)
from msgcenter.config.snapshot import (
    CITIES,
    FILES,
    HOT_FILES,
    PROCESS_FILE,
    TEMPLATES,
    Config,
    FileInfo,
    files_in,
)
from msgcenter.config.source import Node, merge, node_of, parse, scalar
from msgcenter.config.templates import TemplateConfig, book
from msgcenter.config.values import FromEnv, Name, Secret, SecretReader, TextFile, reference_in

ENV_PREFIX = "MSGCENTER__"

_M = TypeVar("_M", bound=BaseModel)
_ENV_FILE = re.compile(r"(?<!_)_FILE$")


def load(
    directory: Path | None,
    *,
    settings_models: Mapping[str, type[BaseModel]],
    env: Mapping[str, str],
    clock: Clock,
    texts: Mapping[str, bytes] | None = None,
) -> Config:
    """The configuration of `directory`; None is the embedded default: no files at all.

    `settings_models`: channel kind -> the model of its settings. `env`: where `${env:…}` and
    `MSGCENTER__A__B` are looked up. `texts`: the hot files, instead of those in the folder.
    Raises ConfigErrors with every problem of every file.
    """
    return _Loader(directory, settings_models, env, texts).load(clock.now_ms())


class _Loader:
    def __init__(
        self,
        directory: Path | None,
        settings_models: Mapping[str, type[BaseModel]],
        env: Mapping[str, str],
        texts: Mapping[str, bytes] | None,
    ) -> None:
        self._texts = texts
        self._directory = directory
        self._models = settings_models
        self._env = env
        self._secrets = SecretReader(env, directory)
        self._context = {"secrets": self._secrets}
        self._problems: list[ConfigProblem] = []
        self._bytes: dict[str, bytes] = {}
        self._nodes: dict[str, Node] = {}
        self._unread: set[str] = set()

    def load(self, now_ms: int) -> Config:
        for name in FILES:
            self._read(name)
        cities, templates = self._files_in(CITIES), self._files_in(TEMPLATES)
        self._misspelt_files()
        self._nodes[PROCESS_FILE] = self._overridden(self._nodes[PROCESS_FILE])
        shipped = node_of(POLICY, Mark("the shipped category table"))
        self._nodes["policy.yaml"] = merge(shipped, self._nodes["policy.yaml"])

        process = self._model(PROCESS_FILE, ProcessConfig)
        routes = self._model("routes.yaml", RoutesConfig)
        policy = self._model("policy.yaml", PolicyConfig)
        words = self._model("words.yaml", WordsConfig)
        holidays = self._model("holidays.yaml", HolidaysConfig)
        texts = {
            _stem(name): made for name in templates if (made := self._template(name)) is not None
        }
        overlays = {name: city for name in cities if (city := self._model(name, CityConfig))}
        channels = self._entries("channels.yaml", ChannelConfig)
        callers = self._entries("callers.yaml", CallerConfig)
        accounts = self._entries("accounts.yaml", AccountConfig)
        settings = self._settings(channels)
        draft = Draft(
            self._nodes,
            sorted(self._models),
            channels,
            routes,
            policy,
            callers,
            accounts,
            settings,
            overlays,
            texts,
        )
        # a file that is not even YAML hides its names: do not blame the others for missing them
        if not self._unread:
            crosscheck(draft)
        compiled_book = book(texts, draft.template_note)
        problems = self._problems + draft.problems
        if problems or process is None or routes is None or policy is None:
            raise ConfigErrors(problems, self._secrets.files)
        assert words is not None and holidays is not None  # else there is a problem
        public, rules = (self._hash((*files, *cities, *templates)) for files in (FILES, HOT_FILES))
        config = Config(
            directory=self._directory,
            process=process,
            channels=MappingProxyType(channels),
            settings=MappingProxyType(settings),
            routes=routes,
            policy=policy,
            words=words,
            holidays=holidays,
            cities=MappingProxyType({Path(name).stem: city for name, city in overlays.items()}),
            rules=compiled(policy, words, holidays, tuple(overlays.values()), routes, channels),
            templates=MappingProxyType(texts),
            book=compiled_book,
            callers=MappingProxyType(callers),
            accounts=MappingProxyType(accounts),
            files=tuple(self._info(name) for name in (*FILES, *cities, *templates)),
            hash=public,
            rules_hash=rules,
            loaded_at=now_ms,
            watched=tuple(self._secrets.files),
            texts=MappingProxyType(
                {name: data for name, data in self._bytes.items() if name != PROCESS_FILE}
            ),
        )
        inside = hashlib.sha256(public.encode())
        for model in (process, *callers.values(), *settings.values()):
            for read in _read_in(model):
                text = read.reveal() if isinstance(read, Secret) else read.text
                inside.update(b"\0" + hashlib.sha256(text.encode()).digest())
        inside.update(process.model_dump_json().encode())
        return replace(config, identity=inside.hexdigest())

    def _read(self, name: str) -> None:
        self._nodes[name] = Node({}, Mark(name, 1, 1))
        if self._texts is not None and name != PROCESS_FILE:
            if name in self._texts:
                self._take(name, self._texts[name])
            return
        if self._directory is None:
            return
        try:
            data = (self._directory / name).read_bytes()
        except FileNotFoundError:
            if not self._directory.is_dir() and name == FILES[0]:
                self._note(
                    Mark(str(self._directory)),
                    "",
                    "there is no such folder",
                    "create it, or name another one",
                )
            return
        except OSError as e:
            self._note(
                Mark(name), "", f"cannot be read: {e.strerror}", "correct its owner and mode"
            )
            self._unread.add(name)
            return
        self._take(name, data)

    def _take(self, name: str, data: bytes) -> None:
        self._bytes[name] = data
        node = parse(data, name, self._problems)
        if node is None:
            self._unread.add(name)
        else:
            self._nodes[name] = node

    def _files_in(self, folder: str) -> list[str]:
        if self._texts is not None:
            given = sorted(name for name in self._texts if name.startswith(f"{folder}/"))
            for name in given:
                self._read(name)
            return given
        try:
            names = files_in(self._directory, folder) if self._directory else []
        except OSError as e:
            self._note(Mark(folder), "", f"cannot be read: {e.strerror}", "correct its mode")
            return []
        for name in names:
            self._read(name)
        for path in sorted(self._directory.glob(f"{folder}/*.yml")) if self._directory else ():
            mark = Mark(f"{folder}/{path.name}")
            self._note(mark, "", "is not read", f"rename it to {path.stem}.yaml, or move it away")
        return names

    def _template(self, file: str) -> TemplateConfig | None:
        try:
            _NAME.validate_python(_stem(file))
        except ValidationError:
            remedy = "rename it: small letters, digits and -, like bill-due.yaml"
            self._note(Mark(file), "", "its name cannot be a template's", remedy)
            return None
        return self._model(file, TemplateConfig)

    def _misspelt_files(self) -> None:
        if self._texts is not None:
            return
        try:
            present = sorted(self._directory.iterdir()) if self._directory else []
        except OSError:
            return  # each file was tried by name already
        absent = [name for name in FILES if name not in self._bytes and name not in self._unread]
        for path in present:
            if path.suffix in (".yaml", ".yml") and path.name not in FILES and path.is_file():
                if path.stem.endswith("_test"):
                    continue  # what `config test` runs
                remedy = did_you_mean(path.stem, [Path(name).stem for name in absent], what="files")
                if remedy.startswith("did you mean"):
                    right = remedy.split("`")[1] + ".yaml"
                    self._note(
                        Mark(path.name), "", "is not read", f"rename it to {right}, or move it away"
                    )

    def _overridden(self, node: Node) -> Node:
        """`MSGCENTER__BUS__URL=…` over `bus: {url: …}`; with the ending `_FILE` the value lies in
        that file."""
        for variable in sorted(self._env):
            if not variable.startswith(ENV_PREFIX):
                continue
            mark = Mark(f"environment variable {variable}")
            text, name = self._env[variable], variable
            if _ENV_FILE.search(variable):
                name = _ENV_FILE.sub("", variable)
                try:
                    text = self._secrets.read(Path(text))
                except ValueError as e:
                    context = getattr(e, "context", None) or {}
                    self._note(
                        mark,
                        "",
                        str(context.get("message", e)),
                        str(context.get("remedy", "correct the path")),
                    )
                    continue
            value = self._env_value(text, name, mark)
            if value is None:
                continue
            for part in reversed(name.removeprefix(ENV_PREFIX).lower().split("__")):
                value = Node({part: value}, mark)
            node = merge(node, value)
        return node

    def _env_value(self, text: str, variable: str, mark: Mark) -> Node | None:
        if text[:1] in "[{" and text:
            found: list[ConfigProblem] = []
            node = parse(b"value: " + text.encode(), mark.file, found)
            if node is None or found:
                self._note(mark, "", "is not a YAML value", "write it like [api, submit]")
                return None
            child = node.child("value")
            return node_of(child.plain() if child else None, mark)
        plain = scalar(text)
        return Node(FromEnv(plain, variable) if isinstance(plain, str) else plain, mark)

    def _model(self, name: str, model: type[_M]) -> _M | None:
        if name in self._unread:
            return None
        return self._validated(model, self._nodes[name], name, ())

    def _entries(self, name: str, model: type[_M]) -> dict[str, _M]:
        """The entries that are sound; each of the others is a problem of its own."""
        out: dict[str, _M] = {}
        for key, child in self._nodes[name].items():
            try:
                _NAME.validate_python(key)
            except ValidationError as e:
                self._problems += explain(e, str, child, (key,))
                continue
            entry = self._validated(model, child, name, (key,))
            if entry is not None:
                out[key] = entry
        return out

    def _settings(self, channels: Mapping[str, ChannelConfig]) -> dict[str, BaseModel]:
        out: dict[str, BaseModel] = {}
        for name, channel in channels.items():
            node = self._nodes["channels.yaml"].child(name)
            model = self._models.get(channel.kind)
            if node is None:
                continue
            if model is None:
                remedy = did_you_mean(channel.kind, sorted(self._models), what="channel kinds")
                if remedy.startswith("did you mean"):
                    remedy += f" (known channel kinds: {', '.join(sorted(self._models))})"
                self._note(
                    node.at(("kind",)),
                    dotted((name, "kind")),
                    f"there is no channel kind `{channel.kind}`",
                    remedy,
                )
                continue
            under = node.child("settings") or Node({}, node.mark)
            settings = self._validated(model, under, "channels.yaml", (name, "settings"))
            if settings is not None:
                out[name] = settings
        return out

    def _validated(
        self, model: type[_M], node: Node, file: str, prefix: tuple[str | int, ...]
    ) -> _M | None:
        try:
            out = model.model_validate(node.plain(), context=self._context)
        except ValidationError as e:
            self._problems += explain(e, model, node, prefix)
            return None
        stray = list(_strays(out, ()))
        for path in stray:
            self._note(
                node.at(path),
                dotted((*prefix, *path)),
                "takes no ${…} reference: it is not a secret",
                "write the value here"
                + (f", or set {ENV_PREFIX}…" if file == PROCESS_FILE else ""),
            )
        return None if stray else out

    def _note(self, mark: Mark, path: str, message: str, remedy: str) -> None:
        self._problems.append(ConfigProblem(mark, path, message, remedy))

    def _hash(self, names: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for name in names:
            data = self._bytes.get(name)
            digest.update(f"{name}\0{-1 if data is None else len(data)}\0".encode() + (data or b""))
        return digest.hexdigest()

    def _info(self, name: str) -> FileInfo:
        data = self._bytes.get(name)
        path = str(self._directory / name) if self._directory else ""
        return FileInfo(
            name,
            path,
            data is not None,
            hashlib.sha256(data).hexdigest() if data is not None else "",
        )


def _stem(file: str) -> str:
    return Path(file).stem


_NAME: TypeAdapter[str] = TypeAdapter(Name)


def _strays(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Where a plain field holds a secret reference, which would be used as text."""
    if isinstance(value, ChannelConfig):
        return  # its settings are raw here and checked as the adapter's own model
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _strays(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _strays(child, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, child in enumerate(value):
            yield from _strays(child, (*path, i))
    elif reference_in(str(value) if isinstance(value, Path) else value):
        yield path


def _read_in(value: object) -> Iterator[Secret | TextFile]:
    """What a model holds of other files and of the environment."""
    if isinstance(value, Secret | TextFile):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _read_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _read_in(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _read_in(child)
