"""The same training on several devices and in several processes, against one device: `python docs/devices`."""
