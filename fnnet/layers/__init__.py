"""What a network is made of: the `Layer` protocol, one file a family of layers, and the containers.

The names here are for layers of one's own; fnnet's layers are `fnnet.Dense` and so on.
"""

from fnnet.layers.protocol import Access as Access
from fnnet.layers.protocol import Call as Call
from fnnet.layers.protocol import Layer as Layer
from fnnet.layers.protocol import Layout as Layout
from fnnet.layers.protocol import Parameter as Parameter
