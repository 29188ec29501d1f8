"""Programs and rules that XLA compiles wrongly on CPUs with its usual options: docs/xla_faults.md."""
