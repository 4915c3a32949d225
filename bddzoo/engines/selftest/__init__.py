"""Check networks and operators against golden tensors of upstream's own software."""
