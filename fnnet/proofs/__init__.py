"""What has to be shown of each rule: one file a page of `fnnet.rules`, found by being here, and proofs of other rules.

`import fnnet` does not load the files; `own` and `reference_of` do.
"""

from fnnet.proofs.known import own as own
from fnnet.proofs.known import proofs_in as proofs_in
from fnnet.proofs.known import reference_of as reference_of
from fnnet.proofs.known import register as register
from fnnet.proofs.proof import Case as Case
from fnnet.proofs.proof import Configuration as Configuration
from fnnet.proofs.proof import Proof as Proof
