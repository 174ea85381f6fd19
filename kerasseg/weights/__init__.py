"""Weights that other programs trained: files, their networks, names, downloads."""

from kerasseg.system import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "cache": "",
        "catalogue": "is_name list_weights",
        "downloads": "DownloadError fetch",
        "licenses": "show_license",
        "networks": "Network",
        "opening": "Opened open_weights",
    },
)
