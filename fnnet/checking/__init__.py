"""The gradient checker: whether a hand-written backward is right, and if not, where and how it is wrong."""

from fnnet.checking.checker import check as check
from fnnet.checking.report import CheckFailedError as CheckFailedError
from fnnet.checking.report import Failure as Failure
from fnnet.checking.report import Line as Line
from fnnet.checking.report import Report as Report
from fnnet.checking.testing import as_tests as as_tests
