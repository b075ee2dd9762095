"""The lab: emulated devices at the edges we do not own, and real servers in network namespaces."""
