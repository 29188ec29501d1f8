"""What a network is made of: the `Layer` protocol, one file a family of layers, and the containers.

The names here are for layers of one's own; fnnet's layers are `fnnet.Dense` and so on.
"""

from fnnet.layers.answers import Access as Access
from fnnet.layers.answers import Call as Call
from fnnet.layers.answers import Layout as Layout
from fnnet.layers.answers import Parameter as Parameter
from fnnet.layers.protocol import Layer as Layer
