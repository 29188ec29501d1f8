"""What JAX says in words alone, having no class of error for it. No other module of fnnet reads JAX's messages."""

import re

STATUS = re.compile(r"[A-Z]{3}[A-Z_]*: ")  # an error of JAX's runtime begins with one
LOST = re.compile(r"gloo|nccl|rccl|connection|unavailable|heartbeat|coordination|socket|aborted", re.IGNORECASE)


def is_forward_mode_refused(error: Exception) -> bool:
    """Whether a custom_vjp function was differentiated forward."""
    return isinstance(error, TypeError) and ("forward-mode" in str(error) or "custom_vjp" in str(error))


def is_axis_unbound(error: Exception) -> bool:
    """Whether a collective operation found no mapped axis of its name."""
    return isinstance(error, NameError) and "unbound axis name" in str(error)


def is_shared_output_refused(error: Exception) -> bool:
    """Whether vmap refuses a custom_vjp function since one of its outputs is the same for all examples."""
    return "shared across the batch" in str(error)


def is_process_lost(error: Exception) -> bool:
    """Whether the runtime reports that another process is gone."""
    return bool(STATUS.match(str(error)) and LOST.search(str(error)))
