"""The rules, one file a layer: equations, forward, residuals, backward."""
