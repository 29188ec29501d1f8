"""The kernels with a backward that JAX ships in jax.experimental.pallas.ops, in interpret mode."""

import jax.numpy as jnp

from published_rules.entry import Entry, normal, single

X, SCALE, SHIFT = normal(0, 2, 3, 8), normal(1, 8), normal(2, 8)
Q, K, V = (normal(i, 1, 16, 2, 16) for i in range(3))


def attention(q, k, v, causal=False):
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
    if causal:
        scores = jnp.where(jnp.tri(scores.shape[-2], dtype=bool), scores, -jnp.inf)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    return jnp.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)


def layer_norm(x, scale, shift):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * scale + shift


def rms_norm(x, scale, shift):
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale + shift


def norm(name):
    def make():
        from jax.experimental.pallas.ops.gpu import layer_norm, rms_norm

        kernel = getattr({"layer_norm": layer_norm, "rms_norm": rms_norm}[name], name)
        return (lambda *args: single(lambda *a: kernel(*a, interpret=True), *args)), X, SCALE, SHIFT

    return make


def mha(causal):
    def make():
        from jax.experimental.pallas.ops.gpu import attention

        sizes = attention.BlockSizes(
            block_q=16, block_k=16, block_q_dkv=16, block_kv_dkv=16, block_q_dq=16, block_kv_dq=16
        )

        def run(q, k, v):
            return attention.mha(q, k, v, None, 1.0, causal, sizes, interpret=True)

        return run, Q, K, V

    return make


FEW, MORE = {"checks": "SPRLF"}, {"checks": "SPRLFVT"}
SINGLE = "in single precision, as a GPU would compute it"
PALLAS = [
    Entry("jax", "pallas.ops.gpu.layer_norm", norm("layer_norm"), layer_norm, said=SINGLE, options=MORE),
    Entry("jax", "pallas.ops.gpu.rms_norm", norm("rms_norm"), rms_norm, said=SINGLE, options=MORE),
    Entry("jax", "pallas.ops.gpu.mha", mha(False), attention, options=FEW),
    Entry("jax", "pallas.ops.gpu.mha(causal)", mha(True), lambda q, k, v: attention(q, k, v, True), options=FEW),
]
