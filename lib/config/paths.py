"""Checks of the keys that are paths, and of NAME, which becomes the name of a folder."""
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from lib.config.literals import HOME, expand_home
from lib.config.node import Config
from lib.utils.text import LINE_BREAKING, printable

MODELS = ("RESUME_MODEL", "NETWORK.PRETRAINED_MODEL", "BACKBONE.PRETRAINED_MODEL", "TRAIN.COMBINER.DIVE.TEACHER_MODEL",
          "TEST.MODEL_FILE")   # a bare name is a file in the run's models/
PATHS = ("OUTPUT_DIR", "DATASET.ROOT", "DATASET.TRAIN_JSON", "DATASET.VALID_JSON", "DATASET.TEST_JSON",
         "DATASET.CAM_DATA_JSON_SAVE_PATH", "DATASET.CAM_DATA_SAVE_PATH", "DATASET.FOLDER.SPLIT", "DATASET.FOLDER.CACHE",
         "TEST.PRIOR", *MODELS)   # TEST.PRIOR may also be the name of a prior
MADE = ("OUTPUT_DIR", "NAME")   # folders that a run makes; data folders may have any name
LONGEST_NAME = 255   # bytes, on every usual file system
LONGEST_PATH = os.pathconf("/", "PC_PATH_MAX") if hasattr(os, "pathconf") else 260
SHOWN = 80           # characters of a path that a message shows
ROOM = 100           # bytes that a run adds to its directory: figures/recall_by_class.png, temporary names


def expand_homes(cfg: Config) -> Iterator[str]:
    """Expands ``~`` in all paths; yields a line for each that cannot be expanded."""
    for key in PATHS:
        path = cfg.flat()[key]
        if key in MODELS and "/" not in path and path != HOME:
            continue
        try:
            cfg.put(key, expand_home(path))
        except LookupError as error:
            yield f"{key}: {error}; for a folder of this name, put ./ in front of it, got {short(path)}"


def problems(cfg: Config) -> Iterator[str]:
    """Yields a line for each text with invalid characters and for each invalid path."""
    values = cfg.flat()
    for key, value in values.items():
        if isinstance(value, str):
            yield from characters(key, value)
    yield from name(cfg.NAME)
    if not cfg.OUTPUT_DIR:
        yield "OUTPUT_DIR: is empty; write . for the working directory"
    if HOME in Path(cfg.OUTPUT_DIR).parts:
        yield f"OUTPUT_DIR: {short(cfg.OUTPUT_DIR)} has a folder {HOME} in it; {HOME} means the home directory only at the start"
    for key in PATHS:
        yield from lengths(key, values[key])
    directory = os.path.join(cfg.OUTPUT_DIR, cfg.NAME)
    if num_bytes(directory) + ROOM > LONGEST_PATH >= num_bytes(cfg.OUTPUT_DIR):
        yield (f"OUTPUT_DIR: OUTPUT_DIR/NAME has {num_bytes(directory):,} bytes, too many for the paths of the run's files, "
               f"which can have {LONGEST_PATH:,}; shorten it")


def characters(key: str, text: str) -> Iterator[str]:
    if "\0" in text:
        yield f"{key}: has a null character in it, {short(text)}"
    elif key in MADE and any(unicodedata.category(character) in LINE_BREAKING for character in text):
        yield f"{key}: has a control character, such as a line break, in it, {short(text)}"
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        yield f"{key}: {short(text)} has characters that cannot be encoded in {error.encoding}, the encoding of file names here"


def name(text: str) -> Iterator[str]:
    """Reports why NAME cannot be the name of a folder."""
    if text in ("", ".", "..", HOME) or "/" in text:
        yield f"NAME: {short(text)} is not the name of a single folder; OUTPUT_DIR is the folder that contains it"
    if num_bytes(text) > LONGEST_NAME:
        yield (f"NAME: has {num_bytes(text):,} bytes, but the name of a folder can have {LONGEST_NAME}; give a shorter one "
               f"(stacked files without a NAME add their file names), got {short(text)}")


def lengths(key: str, path: str) -> Iterator[str]:
    longest = max(path.split("/"), key=num_bytes)
    if num_bytes(longest) > LONGEST_NAME:
        yield f"{key}: {short(longest)} has {num_bytes(longest):,} bytes, but a file name can have at most {LONGEST_NAME}"
    elif num_bytes(path) > LONGEST_PATH:
        yield f"{key}: has {num_bytes(path):,} bytes, but a path can have at most {LONGEST_PATH:,}, got {short(path)}"


def add_to_name(text: str, addition: str) -> str:
    """Appends ``addition`` to a NAME; ``text`` is shortened if the result would be too long for a folder name."""
    while num_bytes(text + addition) > LONGEST_NAME:
        text = text[:-1]
    return text + addition


def num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def short(text: str) -> str:
    return f"'{printable(text, SHOWN)}'"
