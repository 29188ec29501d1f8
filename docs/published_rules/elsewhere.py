"""Smaller packages that register a gradient of their own; most of them with custom_vjp."""

import importlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from published_rules.entry import Entry, normal, single, uniform

X, P = normal(0, 6), uniform(0, 6)
Q, K, V = normal(0, 1, 1, 4, 3), normal(1, 1, 1, 4, 3), normal(2, 1, 1, 4, 3)
SPD = normal(0, 3, 3) @ normal(0, 3, 3).T / 3 + np.eye(3, dtype=np.float32)
SURROGATE = "a surrogate gradient on purpose: the step itself has no slope"
EPSILON = "in single precision; in double its backward forgets an epsilon of 1e-10 in its forward"
INSIDE = {"options": {"checks": "SPRLFVT2X"}, "said": "at values of its support alone"}
MASK = np.array([[True, True, True, False]])


def entry(package, module, name, *args, f: Callable | None = None, label="", **options):
    """module.name of a package at these arguments, or f(module.name, *args)."""

    def make():
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return ((lambda *a: f(found, *a)) if f else found), *args

    return Entry(package, f"{module}.{name}{label}", make, **options)


def attention(q, k, v, mask=None):
    scores = jnp.einsum("bhid,bhjd->bhij", q, k) / np.sqrt(q.shape[-1]).item()
    mask = jnp.ones((), bool) if mask is None else mask
    scores = jnp.where(mask, scores, -1e10)
    weights = jnp.where(mask, jnp.exp(scores - scores.max(-1, keepdims=True)), 0)
    return jnp.einsum("bhij,bhjd->bhid", weights / (weights.sum(-1, keepdims=True) + 1e-10), v)


def causal(q, k, v):
    return attention(q, k, v, jnp.tri(q.shape[-2], k.shape[-2], dtype=bool))


def linear_cross_entropy(x, w, labels):
    logits = x @ w.T
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    return -jnp.take_along_axis(log_probabilities, labels[:, None], -1).mean()


def allpole(x, a, zi):
    """y_t = x_t - sum_k a_tk y_(t-k), the state zi before the first sample; an example a row."""
    columns = [zi[:, k] for k in range(zi.shape[1])]
    ys = []
    for t in range(x.shape[1]):
        y = x[:, t] - sum(a[:, t, k] * columns[k] for k in range(zi.shape[1]))
        columns = [y, *columns[:-1]]
        ys.append(y)
    return jnp.stack(ys, 1)


def bi_tempered(a, t, t1=0.7, t2=1.3):
    """Amid and others, Robust bi-tempered logistic loss based on Bregman divergences, 2019: section 2."""

    def exp_t(u):
        return jnp.maximum(1 + (1 - t2) * u, 0) ** (1 / (1 - t2))

    def log_t(u, t):
        return (u ** (1 - t) - 1) / (1 - t)

    t, top = t / t.sum(-1, keepdims=True), a.max(-1, keepdims=True)
    shifted = a - top
    for _ in range(200):
        shifted = (a - top) * exp_t(shifted).sum(-1, keepdims=True) ** (1 - t2)
    p = exp_t(a - top + log_t(1 / exp_t(shifted).sum(-1, keepdims=True), t2))
    terms = t * (log_t(t + 1e-10, t1) - log_t(p, t1)) - (t ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    return terms.sum(-1)


def power_law(x, alpha, low, high):
    """The log density of a doubly truncated power law."""
    return alpha * jnp.log(x) + jnp.log(alpha + 1) - jnp.log(high ** (alpha + 1) - low ** (alpha + 1))


def lineax_solve(a, b):
    import lineax

    return lineax.linear_solve(lineax.MatrixLinearOperator(a), b, lineax.LU()).value


def least_squares(a, b):
    import lineax

    return lineax.linear_solve(lineax.MatrixLinearOperator(a), b, lineax.QR()).value


def checkpointed_loop(internal, x):
    return internal.while_loop(
        lambda c: c[0] < 5,
        lambda c: (c[0] + 1, jnp.sin(c[1]) + c[1] ** 2 / 4),
        (0, x),
        max_steps=8,
        kind="checkpointed",
    )[1]


def plain_loop(x):
    for _ in range(5):
        x = jnp.sin(x) + x**2 / 4
    return x


ELSEWHERE = [
    # Equinox's relatives.
    entry("equinox", "equinox.internal", "while_loop", X, f=lambda loop, x: checkpointed_loop(_equinox_internal(), x),
          reference=plain_loop, label="(checkpointed)"),
    entry("lineax", "lineax.internal", "two_norm", normal(0, 4), reference=lambda x: jnp.sqrt((x * x).sum())),
    Entry("lineax", "lineax.linear_solve(LU)", lambda: (lineax_solve, SPD, normal(1, 3)), jnp.linalg.solve),
    Entry("lineax", "lineax.linear_solve(QR)", lambda: (least_squares, normal(0, 4, 3), normal(1, 4)),
          lambda a, b: jnp.linalg.solve(a.T @ a, a.T @ b)),
    # Optimal transport.
    entry("ott-jax", "ott.math.utils", "norm", normal(0, 4)),
    entry("ott-jax", "ott.math.utils", "norm", normal(0, 3, 4), f=lambda f, x: f(x, axis=-1), label="(axis=-1)"),
    entry("ott-jax", "ott.math.utils", "logsumexp", normal(0, 3, 4), f=lambda f, x: f(x, axis=-1)),
    entry("ott-jax", "ott.math.utils", "softmin", normal(0, 3, 4), np.float32(0.5), f=lambda f, x, g: f(x, g, -1),
          fault="softmin"),
    entry("ott-jax", "ott.math.utils", "lambertw", P * 3, reference=lambda z: _lambertw(z)),
    entry("ott-jax", "ott.math.matrix_square_root", "sqrtm_only", SPD, f=lambda f, a: f((a + a.T) / 2, 1e-12)),
    entry("ott-jax", "ott.math.matrix_square_root", "inv_sqrtm_only", SPD, f=lambda f, a: f((a + a.T) / 2, 1e-12)),
    # Projections and solvers.
    entry("jaxopt", "jaxopt.projection", "projection_simplex", 2 * P),
    entry("jaxopt", "jaxopt.projection", "projection_sparse_simplex", 2 * P, f=lambda f, x: f(x, 3)),
    entry("jaxopt", "jaxopt.loss", "multiclass_logistic_loss", np.int32(2), X, f=lambda f, i, x: f(i, x)),
    # Distributions.
    entry("distrax", "distrax", "multiply_no_nan", X, normal(1, 6)),
    entry("distrax", "distrax._src.utils.math", "power_no_nan", P, normal(1, 6), fault="power_no_nan"),
    entry("distrax", "distrax", "VonMises", X, 3 * P, label=".cdf",
          said="its value is an approximation, its gradient the exact density",
          f=lambda d, x, c: d(jnp.zeros_like(c), jnp.exp(c)).cdf(x)),
    entry("numpyro", "numpyro.distributions.util", "log1mexp", -2 * P),
    entry("numpyro", "numpyro.distributions.util", "logdiffexp", 1 + P, P),
    *(entry("numpyro", "numpyro.distributions", "DoublyTruncatedPowerLaw", P, np.float32(1.5), np.float32(0.05),
            np.float32(1.2),
            f=lambda d, x, alpha, low, high, name=name: getattr(d(alpha, low, high), name)(x), label=f".{name}",
            fault="power law" if name == "log_prob" else "", **INSIDE)
      for name in ("log_prob", "cdf", "icdf")),
    *(entry("numpyro", "numpyro.distributions", "LowerTruncatedPowerLaw", 0.1 + P, np.float32(-2.5), np.float32(0.05),
            f=lambda d, x, alpha, low, name=name: getattr(d(alpha, low), name)(x), label=f".{name}", **INSIDE)
      for name in ("log_prob", "cdf", "icdf")),
    # Spiking neurons.
    *(entry("spyx", "spyx.axn", name, X, f=lambda make, x: make()(x), documented=SURROGATE)
      for name in ("superspike", "arctan", "tanh", "triangular", "boxcar")),
    entry("spyx", "spyx.experimental.compress", "packed_spike_dense", (normal(0, 3, 5) > 0).astype(np.float32),
          normal(1, 5, 2),
          documented="right for spikes of 0 and 1 alone, and to the first order"),
    # Papers' losses and attentions.
    *(entry("jax-cce", "jax_cce", "linear_cross_entropy", normal(0, 4, 3), normal(1, 5, 3),
            np.array([0, 4, 2, 2], np.int32),
            f=lambda f, x, w, labels, more=more: f(x, w, labels, chunk_size=2, **more), label=label,
            reference=linear_cross_entropy)
      for label, more in (("", {}), ("(filter_eps=1e3)", {"filter_eps": 1e3}))),
    entry("jax-bitempered-loss", "jax_bitempered_loss.loss", "bi_tempered_logistic_loss", normal(0, 4, 5),
          uniform(1, 4, 5),
          f=lambda f, a, t: f(a, t / t.sum(-1, keepdims=True), 0.7, 1.3), reference=bi_tempered,
          fault="bi-tempered"),
    entry("flash-attention-jax", "flash_attention_jax", "flash_attention", Q, K, V, MASK, f=single, said=EPSILON,
          reference=lambda q, k, v, mask: attention(q, k, v, mask[:, None, None])),
    entry("flash-attention-jax", "flash_attention_jax", "causal_flash_attention", Q, K, V, f=single, said=EPSILON,
          reference=causal),
    entry("flash-attention-jax", "flash_attention_jax", "cosine_sim_flash_attention", Q[0, 0], K[0, 0], V[0, 0],
          MASK[0], f=single, said=EPSILON,
          reference=lambda q, k, v, mask: _cosine(q, k, v, mask)),
    # Signals and special functions.
    entry("jaxpole", "jaxpole.filter", "allpole", normal(0, 2, 6), 0.3 * normal(1, 2, 6, 2), normal(2, 2, 2),
          reference=allpole),
    entry("jaxpole", "jaxpole.filter", "allpole", (normal(0, 2, 6) + 1j * normal(3, 2, 6)).astype(np.complex64),
          0.3 * (normal(1, 2, 6, 2) + 1j * normal(4, 2, 6, 2)).astype(np.complex64),
          (normal(2, 2, 2) + 1j * normal(5, 2, 2)).astype(np.complex64), reference=allpole, label="(complex)",
          fault="allpole"),
    entry("jaxbessel", "jaxbessel", "j0", 4 * X),
    entry("jaxbessel", "jaxbessel", "j1", 4 * X),
    entry("jaxbessel", "jaxbessel", "bessel_jn", 4 * X, f=lambda f, x: f(3, x)),
    entry("jaxbessel", "jaxbessel", "spherical_bessel_jn", 4 * X, f=lambda f, x: f(3, x)),
    entry("jaxbessel", "jaxbessel", "bessel_jv_over_xv", 4 * X, f=lambda f, x: f(1.5, x)),
    entry("e3nn-jax", "e3nn_jax", "sh", normal(0, 4, 3), f=lambda f, x: f([0, 1, 2, 3], x, True)),
    entry("e3nn-jax", "e3nn_jax", "soft_odd", X),
]  # fmt: skip


def _equinox_internal():
    return importlib.import_module("equinox.internal")


def _lambertw(z):
    w = jnp.log1p(z)
    for _ in range(40):
        e = jnp.exp(w)
        w = w - (w * e - z) / (e * (w + 1))
    return w


def _cosine(q, k, v, mask):
    q, k = (a / (jnp.sqrt((a * a).sum()) + 1e-10) for a in (q, k))
    weights = jnp.where(mask, jnp.exp(10 * (q @ k.T) - 10), 0)
    return weights / (weights.sum(-1, keepdims=True) + 1e-10) @ v
