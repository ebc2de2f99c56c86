"""Generates the images of CAM-based sampling; main/train.py does this if DATASET.GENERATE_CAM_BASED_DATASET is True.

A single device generates them, since every source image goes through the network only once; of several processes only rank 0
works.
"""
import argparse
import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lib.cam_sampling import Generation, Plan, SetFiles, Sheet, Writer, file_name
from lib.config import Config, add_to_name
from lib.config.files import files_of
from lib.config.preparation import preprocessing
from lib.core import build
from lib.dataset import ImageSet, enlarge, fingerprint
from lib.dataset.enlarged import read_added
from lib.device.failures import GENERATION, during
from lib.device.runtime import Runtime, to_device
from lib.report.style import save_figure
from lib.run import checkpoint
from lib.run.checkpoint import Start
from lib.run.identity import Identity, load_start
from lib.run.own_files import check_spared
from lib.run.run import Run
from lib.utils.errors import InputError
from lib.utils.progress import Counter
from lib.utils.text import shell_line
from main.claim import check_images, reads

log = logging.getLogger("main.train")

SHEET = "cam_sampling.png"
AGAIN = "no image was kept; run the same command again once there is room"


class GenerationJob(NamedTuple):
    """A generation whose input has been checked."""

    run: Run
    output: SetFiles
    train_set: ImageSet
    plan: Plan
    generation: Generation


def generate(cfg: Config, args: argparse.Namespace) -> None:
    with Runtime.start(args.gpus, cfg.TRAIN.NUM_THREADS, cfg.DETERMINISTIC) as runtime:
        with runtime.agree():
            job = prepare(cfg, args, runtime) if runtime.is_main else None
        if job is not None:
            make(cfg, job, runtime)
        if runtime.is_main:
            log.info("Next:\n    %s", shell_line(next_command(cfg, args)))


def prepare(cfg: Config, args: argparse.Namespace, runtime: Runtime) -> GenerationJob | None:
    """Checks all input before anything is written; returns None if --ar keeps a finished set."""
    run = build.run_directory(cfg)
    output = SetFiles(Path(cfg.DATASET.CAM_DATA_SAVE_PATH), Path(cfg.DATASET.CAM_DATA_JSON_SAVE_PATH))
    if run.holds_a_run():
        raise InputError(f"{run.directory} already holds a training run; choose another NAME")
    train_set = build.build_dataset(cfg, train=True)
    if args.ar and output.json_file.exists():
        read_added(output.json_file)   # one that does not say what it was made for is not known to be finished
        added = enlarge(train_set, output.json_file)
        if output.has_leftovers():   # it was killed while it cleared up
            with run:
                run.lock()
                output.remove_leftovers()
        log.info("--ar: %s has %d images for this training set; nothing to do", output.json_file, len(added.paths))
        return None
    output.check_free(args.overwrite)
    if args.overwrite:
        replaced = [path for path in output if path.exists()]
        files = [("--cfg", path) for path in files_of(args.cfg)]
        check_spared([*reads(cfg, run), *files], replaced, "deleted by --overwrite")
        check_images(replaced, [train_set])
    plan = build.build_plan(cfg, train_set)
    if len(plan.labels) == 0:
        raise InputError(f"DATASET.CAM_NUMBER_THRES: {cfg.DATASET.CAM_NUMBER_THRES} adds no image to {train_set.name}, whose "
                         f"rarest class has {train_set.class_counts[train_set.class_counts > 0].min()}; set a higher value, or 0")
    network = build.build_network(cfg, train_set.num_classes)
    path = run.find_model(cfg.NETWORK.PRETRAINED_MODEL)
    key = "NETWORK.PRETRAINED_MODEL"
    identity = Identity(train_set.class_names, train_set.class_counts, preprocessing(cfg, train_set), {})
    load_start(network, Start("network", f"{key} {path}", checkpoint.load(path, key)), identity)
    network = to_device(network, runtime, build.memory_format(cfg), sync_batchnorm=False)
    run.lock()
    return GenerationJob(run, output, train_set, plan, build.build_generation(cfg, train_set, network, runtime.device))


def make(cfg: Config, job: GenerationJob, runtime: Runtime) -> None:
    plan, output = job.plan, job.output
    job.run.open(cfg.to_yaml(), 1, runtime.describe(), tensorboard=False)
    with job.run.writing(AGAIN):
        job.run.record_indices(job.train_set.indices)
    added = torch.bincount(plan.labels, minlength=job.train_set.num_classes)
    log.info("%s: %d images to make from %d of %d, %d to %d per class, on %s", job.train_set.name, len(plan.labels),
             len(plan.sources.unique()), len(job.train_set.labels), added.min(), added.max(), runtime.device)
    if cfg.DATASET.CAM_NUMBER_THRES and job.train_set.fills_classes:
        log.info("DATASET.CAM_NUMBER_THRES: not used for %s, whose classes are all filled up", job.train_set.name)
    sheet = Sheet(plan)
    with output.filling() as folder:
        with Writer(folder) as writer:
            sizes = fill(job, writer, sheet)
        with job.run.writing(AGAIN):
            save_figure(sheet.figure(job.train_set.class_names, job.train_set.class_counts), job.run.figures / SHEET)
        output.commit(annotations(cfg, job, sizes))
    log.info("Images: %s\nAnnotations: %s\nA sample to look at: %s", output.folder, output.json_file, job.run.figures / SHEET)
    job.run.close()


@during(GENERATION)
def fill(job: GenerationJob, writer: Writer, sheet: Sheet) -> Tensor:
    """Generates and writes all images; returns their heights and widths, (M, 2)."""
    plan, sizes = job.plan, torch.zeros(len(job.plan.labels), 2, dtype=torch.long)
    writer.begin(plan)
    counter = Counter("CAM-based sampling:", len(plan.labels))
    for made in job.generation.run(plan):
        labels, places = plan.labels[made.numbers].tolist(), plan.places[made.numbers].tolist()
        writer.write([file_name(*pair) for pair in zip(labels, places)], made.results.cpu())
        sizes[made.numbers] = torch.tensor(made.results.shape[2:])
        sheet.collect(made)
        counter.add(len(made.numbers))
    return sizes


def annotations(cfg: Config, job: GenerationJob, sizes: Tensor) -> dict[str, Any]:
    """The annotations in the published form, with training set and network of the images. Paths are relative to the JSON."""
    folder = Path(os.path.relpath(job.output.folder, job.output.json_file.parent))
    columns = (job.plan.labels.tolist(), job.plan.places.tolist(), sizes.tolist())
    return {
        "num_classes": job.train_set.num_classes,
        "source": fingerprint(job.train_set),
        "made_with": {"network": cfg.NETWORK.PRETRAINED_MODEL, "seed": cfg.SEED, "threshold": cfg.DATASET.CAM_NUMBER_THRES},
        "annotations": [
            {"image_id": number, "fpath": (folder / file_name(label, place)).as_posix(), "im_height": height, "im_width": width,
             "category_id": label} for number, (label, place, (height, width)) in enumerate(zip(*columns))],
    }


def next_command(cfg: Config, args: argparse.Namespace) -> list[str]:
    """The command that trains on the enlarged set, from the same network; later words have priority."""
    return ["bash", "data_parallel_train.sh", ",".join(args.cfg), args.gpus, *args.words,
            "NAME", add_to_name(cfg.NAME, "_trained"),
            "DATASET.GENERATE_CAM_BASED_DATASET", "False", "DATASET.USE_CAM_BASED_DATASET", "True",
            "TRAIN.SAMPLER.TYPE", "weighted sampler"]
