"""Run directories: a training that fills one, what it holds, and the trained network that is read back from it."""

from fnnet.cli.runs.directory import Run as Run
from fnnet.cli.runs.directory import load as load
from fnnet.cli.runs.inference import classify as classify
from fnnet.cli.runs.inference import held_out as held_out
from fnnet.cli.runs.inference import reading_of as reading_of
from fnnet.cli.runs.inference import score as score
from fnnet.cli.runs.last_optimizer import last_optimizer as last_optimizer
from fnnet.cli.runs.tracing import moments_of as moments_of
from fnnet.cli.runs.tracing import title_of as title_of
from fnnet.cli.runs.tracing import traced as traced
from fnnet.cli.runs.training import resume as resume
from fnnet.cli.runs.training import train as train
