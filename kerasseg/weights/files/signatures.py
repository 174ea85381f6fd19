"""The kind of a file by its first and last bytes, and errors for what is no weights."""

import os

from kerasseg import errors

ZIP = "zip"
PICKLE = "pickle"
SAFETENSORS = "safetensors"
HDF5 = "hdf5"
TABLE = "table"  # The index of a TensorFlow checkpoint, and its old format.
JSON = "json"

_HEAD = 1024  # Bytes.
_TABLE_END = bytes.fromhex("57fb808b247547db")
_AGAIN = "Download it again, with a program that reports errors of the server."
# What a file starts with: its kind, and what to do. The first match counts.
_WRONG = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file that it stands for. Run `git lfs pull` in its "
        "repository, or download the file itself.",
    ),
    (b"<", f"an HTML or XML page, such as a login or error page. {_AGAIN}"),
    (b"\x89PNG", "a PNG image. Give a file of weights."),
    (b"\xff\xd8\xff", "a JPEG image. Give a file of weights."),
    (b"GIF8", "a GIF image. Give a file of weights."),
    (b"BM", "a BMP image. Give a file of weights."),
    (b"RIFF", "a WebP image, sound or video. Give a file of weights."),
    (b"II*\0", "a TIFF image. Give a file of weights."),
    (b"MM\0*", "a TIFF image. Give a file of weights."),
    (b"%PDF", "a PDF document. Give a file of weights."),
    (b"\x1f\x8b", "compressed by gzip. Extract it with gunzip or tar first."),
    (b"BZh", "compressed by bzip2. Extract it with bunzip2 or tar first."),
    (b"\xfd7zXZ", "compressed by xz. Extract it with unxz or tar first."),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard. Extract it with unzstd first."),
    (b"7z\xbc\xaf", "a 7-Zip archive. Extract it first."),
    (b"Rar!", "a RAR archive. Extract it first."),
    (
        b"\x93NUMPY",
        "a NumPy array without a name. Give the file of a whole network, such as "
        ".safetensors or .pth.",
    ),
    (b"GGUF", "a GGUF file of a language model. Give .safetensors or .pth."),
)


def kind(path: str | os.PathLike) -> str:
    """Returns the kind of a file, one of the constants above.

    Raises:
        errors.UserError: It is of no kind that is read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD)
        file.seek(max(0, size - len(_TABLE_END)))
        tail = file.read(len(_TABLE_END))
    if not head:
        raise errors.UserError("it is empty. Copy or download it again.")
    if head.startswith(b"PK\3\4") or head.startswith(b"PK\5\6"):
        return ZIP
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return PICKLE
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return HDF5
    if tail == _TABLE_END:
        return TABLE
    if head[8:9] == b"{":
        return SAFETENSORS
    if head.lstrip()[:1] == b"{":
        return JSON
    raise errors.UserError(f"it is {_wrong(head)}")


def _wrong(head):
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, found in _WRONG:
        if text.startswith(start) or head.startswith(start):
            return found
    if head[257:262] == b"ustar":
        return (
            "a tar archive: extract it first. If PyTorch before 0.2 wrote it, load it "
            "with PyTorch, and save its state_dict() again."
        )
    if head[4:8] == b"TFL3":
        return "a TFLite model, a program without the training variables. Give a .keras"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b":"):
        return (
            "an ONNX model, or another protocol buffer. Save the state_dict() of the "
            "network that it was exported from, with torch.save."
        )
    if all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        start = text[:40].decode("utf-8", "replace").split("\n")[0]
        return f"text, which starts with {start!r}. Give a file of weights."
    return (
        f"of an unknown kind, and starts with {head[:8].hex(' ')}. PyTorch, "
        "safetensors, TensorFlow and Keras files are read; a checkpoint of "
        "TensorFlow is named by its path without .index and .data-*."
    )


def wrong_archive(names: list[str]) -> errors.UserError:
    """Returns the error for a zip archive that holds no weights.

    Args:
        names: Names of its entries.
    """
    if names and all(name.endswith(".npy") for name in names):
        text = "an archive of NumPy arrays (.npz). Save it as .safetensors."
    elif any(name.endswith("saved_model.pb") for name in names):
        text = "an archived SavedModel. Extract it, and give variables/variables in it."
    elif any(name.endswith("constants.pkl") for name in names):
        text = "a TorchScript program. Save its state_dict() with torch.save."
    else:
        text = (
            f"a zip archive of {len(names)} files without data.pkl, so not one of "
            "torch.save. If it contains files of weights, extract it first."
        )
    return errors.UserError(f"it is {text}")
