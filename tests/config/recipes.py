"""The published recipes as values: what their files say, key by key."""
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).resolve().parents[1] / "data"
COLUMNS = ("cifar10_im100", "cifar10_im50", "cifar100_im100", "cifar100_im50")
ABSENT = "(absent)"   # of a key that the published file leaves out, so that the default holds


def read(name: str) -> dict:
    return yaml.safe_load((DATA / name).read_text(encoding="utf-8"))


@cache
def recipes() -> dict[str, dict[str, Any]]:
    """The 236 files by their published paths, each with the keys that it gives."""
    content, found = read("recipes.yaml"), {}
    for entry in content["cui_cifar"]:
        for dataset in COLUMNS:
            own = {**content["baseline"], "OUTPUT_DIR": "./output/{dataset}", **entry["overrides"],
                   **entry.get("per_dataset", {}).get(dataset, {})}
            own = {key: value.replace("{dataset}", dataset) if isinstance(value, str) else value for key, value in own.items()}
            found[f"{entry['dir']}/{entry['files'].format(dataset=dataset)}"] = {
                key: value for key, value in own.items() if value != ABSENT}
    return {**found, **content["others"]}
