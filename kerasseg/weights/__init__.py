"""Weights that other programs trained: files, their networks, names, downloads."""

from kerasseg.system import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "catalogue": "list_weights",
        "downloads": "DownloadError fetch",
        "licenses": "show_license",
        "opening": "Opened open_weights",
    },
)
