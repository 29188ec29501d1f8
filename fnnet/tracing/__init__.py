"""`fnnet.trace`: what happens in each layer of a network, forward and backward, in numbers, words and on a page."""

from fnnet.tracing.tracer import trace as trace
