"""Parameters, or gradients, of a PyTorch or Flax model as those of a network of fnnet's, and back: docs/interop.md.

And a network as an ONNX model: docs/serving.md.
"""

from fnnet.interop.flax_layout import from_flax as from_flax
from fnnet.interop.flax_layout import to_flax as to_flax
from fnnet.interop.onnx_export import to_onnx as to_onnx
from fnnet.interop.onnx_graph import OnnxGraph as OnnxGraph
from fnnet.interop.onnx_graph import OnnxValue as OnnxValue
from fnnet.interop.onnx_handlers import onnx_node as onnx_node
from fnnet.interop.torch_layout import from_torch as from_torch
from fnnet.interop.torch_layout import to_torch as to_torch
