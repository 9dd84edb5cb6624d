"""The keys of a config by section: defaults, kinds, helps, and who reads them."""
