"""jax.nn, jax.numpy and jax.scipy: what has a custom_jvp, or a derivative rule written by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from published_rules.entry import Entry, normal, uniform


def nn(name, *args, **options):
    """jax.nn.name at these arguments, against its own undecorated primal unless a reference is given."""
    args = args or (normal(0, 3, 4, scale=2),)
    return Entry("jax", f"jax.nn.{name}", lambda: (getattr(jax.nn, name), *args), **options)


def special(name, *args, f=None, **options):
    """jax.scipy.special.name."""
    return Entry(
        "jax",
        f"jax.scipy.special.{name}",
        lambda: (f or getattr(jax.scipy.special, name), *args),
        **options,
    )


def log_softmax(x):
    return x - jnp.log(jnp.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def attention(q, k, v):
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1]).item()
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    return jnp.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), v)


def log_sum(x, b):
    top = jax.lax.stop_gradient(x.max(-1, keepdims=True))
    return jnp.log((b * jnp.exp(x - top)).sum(-1)) + top[..., 0]


def sinc(x):
    """Near 0 by its series."""
    y = (np.pi * x) ** 2
    far = jnp.where(y > 0.01, x, 1)
    near = jnp.where(y > 0.01, 0, y)
    return jnp.where(y > 0.01, jnp.sin(np.pi * far) / (np.pi * far), 1 - near / 6 + near**2 / 120 - near**3 / 5040)


FUNCTIONS = [
    *(nn(name) for name in ("relu", "relu6", "silu", "sigmoid", "softplus", "log_sigmoid", "squareplus", "sparse_plus",
                            "sparse_sigmoid", "mish", "soft_sign", "elu", "celu", "selu", "leaky_relu", "hard_tanh",
                            "hard_sigmoid", "hard_silu", "gelu", "glu")),
    Entry("jax", "jax.nn.gelu(approximate=False)",
          lambda: (lambda x: jax.nn.gelu(x, approximate=False), normal(0, 3, 4))),
    nn("log1mexp", uniform(0, 6, high=2.0), reference=lambda x: jnp.log(-jnp.expm1(-x))),
    nn("softmax", reference=lambda x: jnp.exp(log_softmax(x))),
    nn("log_softmax", reference=log_softmax),
    nn("logsumexp", reference=lambda x: jnp.log(jnp.exp(x - x.max()).sum()) + x.max()),
    nn("logmeanexp", reference=lambda x: jnp.log(jnp.exp(x - x.max()).mean()) + x.max()),
    nn("standardize", reference=lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)),
    nn("dot_product_attention", normal(0, 2, 4, 1, 3), normal(1, 2, 5, 1, 3), normal(2, 2, 5, 1, 3),
       reference=attention),
    Entry("jax", "jax.nn.logsumexp(b=)",
          lambda: (lambda x, b: jax.nn.logsumexp(x, -1, b), normal(0, 3, 4), uniform(1, 3, 4)),
          log_sum, fault="logsumexp"),
    Entry("jax", "jnp.logaddexp", lambda: (jnp.logaddexp, normal(0, 6), normal(1, 6))),
    Entry("jax", "jnp.logaddexp2", lambda: (jnp.logaddexp2, normal(0, 6), normal(1, 6))),
    Entry("jax", "jnp.sinc", lambda: (jnp.sinc, np.array([1e-4, 1e-3, 0.5, -2], np.float32)), sinc, fault="sinc"),
    Entry("jax", "jnp.i0", lambda: (jnp.i0, normal(0, 6))),
    Entry("jax", "jnp.hypot", lambda: (jnp.hypot, normal(0, 6), normal(1, 6)), lambda a, b: jnp.sqrt(a * a + b * b)),
    Entry("jax", "jnp.linalg.det", lambda: (jnp.linalg.det, normal(0, 4, 4))),
    Entry("jax", "jnp.linalg.slogdet", lambda: (lambda a: jnp.linalg.slogdet(a)[1], normal(0, 4, 4))),
    Entry("jax", "jnp.linalg.pinv", lambda: (jnp.linalg.pinv, normal(0, 4, 3)), lambda a: jnp.linalg.inv(a.T @ a) @ a.T,
          options={"checks": "SPRLFVTBD2X"},
          said="check E left out: with an infinite entry the value itself never returns"),
    Entry("jax", "jnp.linalg.norm", lambda: (jnp.linalg.norm, normal(0, 4)), lambda x: jnp.sqrt((x * x).sum())),
    Entry("jax", "jnp.linalg.eigh", lambda: (lambda a: jnp.linalg.eigh(a + a.T)[0], normal(0, 3, 3))),
    Entry("jax", "jnp.linalg.cholesky", lambda: (lambda a: jnp.linalg.cholesky(a @ a.T + 3 * jnp.eye(3, dtype=a.dtype)),
                                                 normal(0, 3, 3))),
    Entry("jax", "lax.cumlogsumexp", lambda: (lambda x: jax.lax.cumlogsumexp(x, 0), normal(0, 6)),
          lambda x: jnp.stack([log_sum(x[: i + 1], 1.0) for i in range(len(x))])),
]  # fmt: skip

X, P, POSITIVE = normal(0, 6), uniform(0, 6), uniform(1, 6, low=0.5, high=4.0)
SPECIAL = [
    *(special(name, X) for name in ("erf", "erfc", "erfcx", "dawsn", "ndtr", "expit", "i0e", "i1e", "i0", "i1")),
    special("log_ndtr", X, fault="log_ndtr"),
    *(special(name, P) for name in ("logit", "entr", "erfinv", "ndtri", "exp1", "expi", "spence")),
    *(special(name, POSITIVE) for name in ("gammaln", "digamma", "loggamma", "gamma", "factorial")),
    special("fresnel", X, f=lambda x: jax.scipy.special.fresnel(x)),
    special("sici", POSITIVE, f=lambda x: jax.scipy.special.sici(x)),
    special("xlogy", P, POSITIVE),
    special("xlog1py", P, POSITIVE),
    special("rel_entr", P, POSITIVE, reference=lambda p, q: p * jnp.log(p / q)),
    special("kl_div", P, POSITIVE, reference=lambda p, q: p * jnp.log(p / q) - p + q),
    special("betaln", POSITIVE, P + 1),
    special("boxcox", POSITIVE, P),
    special("boxcox1p", POSITIVE, P),
    special("owens_t", X, P),
    special("poch", POSITIVE, P),
    special("zeta", POSITIVE + 1.5, POSITIVE, documented="only the derivative by q is given"),
    special("polygamma", POSITIVE, f=lambda x: jax.scipy.special.polygamma(np.arange(1, 7), x)),
    special("gammainc", POSITIVE, POSITIVE[::-1].copy()),
    special("gammaincc", POSITIVE, POSITIVE[::-1].copy()),
    special(
        "betainc", P, f=lambda x: jax.scipy.special.betainc(jnp.asarray([2.0], x.dtype), jnp.asarray([3.5], x.dtype), x)
    ),
    special("hyp1f1", POSITIVE, POSITIVE + 0.5, P),
    special("hyp2f1", POSITIVE, P, POSITIVE + 1.5, P / 2),
    special("expn", X, f=lambda x: jax.scipy.special.expn(np.array(2), jnp.exp(x))),
]
