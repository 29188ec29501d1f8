"""PyTorch models carried into fnnet: the same outputs and gradients as by PyTorch's autograd, in double precision."""

import copy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_documents import blocks

import fnnet
from external.carried import findings, normal, pulled
from fnnet import interop

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn


class Block(nn.Module):  # type: ignore[name-defined]
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, x):
        return self.downsample(x) + self.conv2(torch.relu(self.conv1(x)))


def block(outputs):
    return fnnet.Residual(
        fnnet.Conv(outputs, 3, stride=2, padding=1, bias=False),
        fnnet.relu,
        fnnet.Conv(outputs, 3, padding=1),
        shortcut=fnnet.Conv(outputs, 1, stride=2, bias=False),
    )


# PyTorch's model, fnnet's network, and the shape of an example.
MODELS = {
    "LeNet": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 4 * 3, 20),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Linear(20, 10),
        ),
        fnnet.Sequential(
            fnnet.Conv(6, 5, padding=2),
            fnnet.relu,
            fnnet.MaxPool(2),
            fnnet.Conv(16, 5, padding="VALID"),
            fnnet.relu,
            fnnet.AvgPool(2),
            fnnet.Flatten(),
            fnnet.Dense(20),
            fnnet.tanh,
            fnnet.Dropout(0.5),
            fnnet.Dense(10),
        ),
        (24, 20, 1),
    ),
    "residual blocks": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), Block(4, 6), nn.Flatten(), nn.Linear(6 * 24, 5)
        ),
        fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, block(6), fnnet.Flatten(), fnnet.Dense(5)),
        (11, 8, 3),
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, groups=4),
            nn.GELU(),
            nn.Conv2d(8, 6, 1, groups=2),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(6 * 4 * 5, 3),
        ),
        fnnet.Sequential(
            fnnet.Conv(8, 3, groups=4),
            lambda z: fnnet.gelu(z, approximate=False),
            fnnet.Conv(6, 1, groups=2),
            fnnet.MaxPool(3, stride=2, padding=1, ceil_mode=True),
            fnnet.Flatten(),
            fnnet.Dense(3),
        ),
        (6, 8, 4),
    ),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 5, stride=2, dilation=2),
            nn.Sigmoid(),
            nn.Conv1d(4, 4, 3, groups=2, bias=False),
            nn.Flatten(),
            nn.Linear(4 * 5, 2),
        ),
        fnnet.Sequential(
            fnnet.Conv(4, (5,), stride=2, dilation=2, padding="VALID"),
            fnnet.sigmoid,
            fnnet.Conv(4, (3,), groups=2, bias=False, padding="VALID"),
            fnnet.Flatten(),
            fnnet.Dense(2),
        ),
        (22, 3),
    ),
    "three dimensions": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 3, (3, 2, 1)), nn.LeakyReLU(0.1), nn.MaxPool3d(2, 1), nn.Flatten(), nn.Linear(3 * 2 * 2 * 2, 4)
        ),
        fnnet.Sequential(
            fnnet.Conv(3, (3, 2, 1), padding="VALID"),
            lambda z: fnnet.leaky_relu(z, 0.1),
            fnnet.MaxPool((2, 2, 2), stride=1),
            fnnet.Flatten(),
            fnnet.Dense(4),
        ),
        (5, 4, 3, 2),
    ),
    "norms": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.GroupNorm(3, 6),
            nn.ReLU(),
            nn.Flatten(),
            nn.LayerNorm(6 * 4 * 3),
            nn.Linear(6 * 4 * 3, 5),
            nn.RMSNorm(5, eps=0.1),
            nn.Linear(5, 3),
        ),
        fnnet.Sequential(
            fnnet.Conv(6, 3),
            fnnet.GroupNorm(3),
            fnnet.relu,
            fnnet.Flatten(),
            fnnet.LayerNorm(),
            fnnet.Dense(5),
            fnnet.RMSNorm(epsilon=0.1),
            fnnet.Dense(3),
        ),
        (4, 3, 2),
    ),
    "linear alone": (
        lambda: nn.Sequential(nn.Linear(7, 5), nn.Softplus(), nn.Linear(5, 3, bias=False)),
        fnnet.Sequential(fnnet.Dense(5), fnnet.softplus, fnnet.Dense(3, bias=False)),
        (7,),
    ),
}


def model_of(name):
    torch.manual_seed(0)
    return MODELS[name][0]().double().eval()


def channels_first(xs):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(xs, -1, 1) if xs.ndim > 2 else xs))


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_outputs_and_gradients(name, x64):
    model, (_, net, shape) = model_of(name), MODELS[name]
    xs = normal(4, *shape)
    theirs_in = channels_first(xs).requires_grad_()
    theirs_out = model(theirs_in)
    cotangent = normal(*theirs_out.shape)
    theirs_out.backward(torch.from_numpy(cotangent))
    theirs_in_bar = theirs_in.grad.numpy()

    params = interop.from_torch(net, shape, model.state_dict())
    gradients = interop.from_torch(net, shape, {name: p.grad for name, p in model.named_parameters()})
    theirs_in_bar = np.moveaxis(theirs_in_bar, 1, -1) if xs.ndim > 2 else theirs_in_bar
    ours = pulled(net, params, xs, cotangent)
    assert findings(ours, (theirs_out.detach().numpy(), gradients, theirs_in_bar)) == []


@pytest.mark.parametrize("name", list(MODELS))
def test_there_and_back(name, x64):
    model, (_, net, shape) = model_of(name), MODELS[name]
    state = model.state_dict()
    back = interop.to_torch(net, shape, interop.from_torch(net, shape, state), state)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_model_filled_from_a_network(x64):
    _, net, shape = MODELS["LeNet"]
    model, params = model_of("LeNet"), net.init(jax.random.key(1), shape, jnp.float64)
    model.load_state_dict(interop.to_torch(net, shape, params, model.state_dict()))
    xs = normal(3, *shape)
    ours = jax.vmap(net.apply, (None, 0))(params, xs)
    assert findings(ours, model(channels_first(xs)).detach().numpy()) == []


def test_what_is_carried_is_a_copy(x64):
    _, net, shape = MODELS["LeNet"]
    model = model_of("LeNet")
    params = interop.from_torch(net, shape, model.state_dict())
    before = jax.tree.map(np.array, params)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, before))


def test_bfloat16_and_half():
    _, net, shape = MODELS["LeNet"]
    for dtype in ("bfloat16", "float16", "float32"):
        state = copy.deepcopy(model_of("LeNet")).to(getattr(torch, dtype)).state_dict()
        params = interop.from_torch(net, shape, state)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
        back = interop.to_torch(net, shape, params, state)
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_the_documents_examples_run():
    names = {"__name__": "example"}
    for block in blocks(Path(__file__).parents[2] / "docs" / "interop.md", "python torch"):
        exec(compile(block, "interop.md", "exec"), names)


def test_batch_norm(x64):
    """In evaluation and in training: outputs, gradients, and the running statistics of momentum 1."""
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),  # the norm would take its effect away
        nn.BatchNorm2d(4, momentum=1.0),
        nn.ReLU(),
        nn.Flatten(),
        nn.BatchNorm1d(60, momentum=1.0),
        nn.Linear(60, 3),
    ).double()
    for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
        tensor.data += torch.from_numpy(normal(*tensor.shape)) ** 2
    net = fnnet.Sequential(
        fnnet.Conv(4, 3, bias=False), fnnet.BatchNorm(), fnnet.relu, fnnet.Flatten(), fnnet.BatchNorm(), fnnet.Dense(3)
    )
    shape, xs, cotangent = (5, 3, 2), normal(7, 5, 3, 2), normal(7, 3)
    params = interop.from_torch(net, shape, model.state_dict())
    back = interop.to_torch(net, shape, params, model.state_dict())
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())

    def trained(params, xs):
        return net.apply_batch(params, xs, keys=jax.random.split(jax.random.key(0), 7))

    for mode in ("eval", "train"):
        getattr(model, mode)().zero_grad()
        theirs = torch.tensor(np.moveaxis(xs, -1, 1).copy(), requires_grad=True)
        ys = model(theirs)
        ys.backward(torch.from_numpy(cotangent))
        gradients = {name: p.grad for name, p in model.named_parameters()}
        gradients |= {name: torch.zeros_like(b) for name, b in model.named_buffers()}
        wanted = ys.detach().numpy(), interop.from_torch(net, shape, gradients), np.moveaxis(theirs.grad.numpy(), 1, -1)
        if mode == "eval":
            assert findings(pulled(net, params, xs, cotangent), wanted) == []
            continue
        ours, pull, statistics = jax.vjp(trained, params, xs, has_aux=True)
        assert findings((ours, *pull(jnp.asarray(cotangent))), wanted) == []
        after = interop.from_torch(net, shape, model.state_dict())
        assert (
            findings(statistics, {name: {key: after[name][key] for key in own} for name, own in statistics.items()})
            == []
        )


def test_a_norm_that_the_network_lacks_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match=r"unexpected: 1.weight \(2,\)\n.*\n.*1.running_mean"):
        interop.from_torch(fnnet.Sequential(fnnet.Conv(2, 3)), (5, 5, 1), model.state_dict())
