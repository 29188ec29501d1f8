"""What people type out of habit, by the names of other command lines, and what it is called here."""

from collections.abc import Sequence

OPTIONS = {  # others' names without dashes, and ours
    "--accumulate": "accum grad-accum accumulation-steps gradient-accumulation-steps",
    "--augment": "aug augmentation augmentations transform transforms",
    "--batch-size": "batch b bs batchsize train-batch-size per-device-train-batch-size",
    "--clip": "clip-grad clip-norm grad-clip gradient-clip gradient-clip-val max-grad-norm",
    "--compute-dtype": "amp bf16 dtype fp16 half mixed-precision precision",
    "--data": "d data-dir data-path data-root dataset datasets root train-dir train-data text",
    "--devices": "gpus num-gpus ngpus nproc-per-node world-size n-devices",
    "--epochs": "e ep epoch max-epochs n-epochs nb-epochs num-epochs num-train-epochs",
    "--held-out": "split test-size test-split val-size val-split valid-split validation-split",
    "--image-size": "img-size imgsz input-size resize size",
    "--jobs": "j workers num-workers n",
    "--label-smoothing": "smoothing ls",
    "--learning-rate": "eta rate step-size",
    "--length": "max-length max-new-tokens max-tokens num-tokens tokens n",
    "--net": "a arch architecture m model model-name network",
    "--optimizer": "opt optim optimiser solver",
    "--output": "dest log-dir logdir o out out-dir outdir output-dir output-file run-dir save save-dir",
    "--patience": "early-stop early-stopping early-stopping-patience",
    "--prompt": "p text start",
    "--resume": "checkpoint ckpt continue continue-from load load-checkpoint restore resume-from",
    "--schedule": "lr-schedule lr-scheduler lr-scheduler-type scheduler sched",
    "--seed": "random-seed random-state rng s",
    "--shard-parameters": "fsdp shard",
    "--temperature": "t temp",
    "--top-k": "k topk",
    "--warmup": "warm-up warmup-steps num-warmup-steps",
    "--weight-decay": "decay l2 wd",
}
NOTES = {
    "accelerator cpu cuda device gpu no-cuda tpu use-cuda use-gpu": (
        "JAX takes an accelerator where it finds one, and JAX_PLATFORMS=cpu in the environment keeps it from that"
    ),
    "debug quiet verbose v": "what is printed cannot be chosen",
    "loss": "the loss is the softmax cross-entropy",
    "momentum": "--optimizer momentum has a momentum of 0.9",
    "num-classes classes": "the classes are read from the data",
    "num-workers workers": "the data are in memory, and no processes load them",
    "shuffle": "each epoch has an order of its own, by --seed",
    "steps max-steps iterations": "--epochs says how long to train",
    "name experiment-name": "--output names the run directory",
}
POSITIONALS = {
    "RUN": "checkpoint ckpt load m model model-path net network run run-dir weights",
    "IMAGE.png": "file files i image images img input",
}
COMMANDS = {
    "train": "fit learn run start",
    "train --resume": "continue resume",
    "evaluate": "eval score test val validate",
    "predict": "classify infer inference",
    "sample": "complete generate",
    "export": "convert onnx save serve",
    "check": "gradcheck verify",
    "trace": "debug inspect profile visualize",
}


def meant(argument: str, options: Sequence[str], positionals: Sequence[str], program: str) -> str:
    """The rest of an error's sentence on an option that people know from elsewhere; "" for others."""
    word = argument.partition("=")[0].lstrip("-").replace("_", "-").lower()
    own = [name for name in options if name.lstrip("-") == word]  # -epochs, --Batch_Size
    known = [name for name, others in OPTIONS.items() if name in options and word in others.split()]
    if own or known:
        return f"; did you mean {(own or known)[0]}?"
    for name, others in POSITIONALS.items():
        if name in positionals and word in others.split():
            return f"; {name} needs no option: {program} {' '.join(positionals)}"
    if "--epochs" in options:
        return next((f"; {note}" for words, note in NOTES.items() if word in words.split()), "")
    return ""


def command_meant(word: str) -> str | None:
    """The command that somebody means by that of another program."""
    return next((name for name, others in COMMANDS.items() if word.lower() in others.split()), None)
