"""Convert DALL-E's published encoder, a pickled model, to a file of tensors.

tools/convert_dvae.py encoder.pkl data/dalle_dvae/encoder.safetensors --trust

Reading a pickled model RUNS CODE that is in the file. Take encoder.pkl from its authors only
(github.com/openai/DALL-E names the address), compare its SHA-256 with one you trust, and say so
with --trust. Nothing else in this package reads such files.
"""

import argparse
from pathlib import Path


def main() -> None:
    """Read the pickle, check that it is the encoder, write its tensors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", help="the published encoder.pkl")
    parser.add_argument("dst", help="file to write, ending in .safetensors")
    parser.add_argument(
        "--trust", action="store_true", help="I know where SRC is from: run the code in it"
    )
    args = parser.parse_args()
    from ..files import sha256_of, write_atomic

    source, target = Path(args.src), Path(args.dst)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: needs a name that ends in .safetensors")
    if not args.trust:
        raise ValueError(
            f"{source}: is a pickled model, and reading it runs code that is in it; its SHA-256 "
            f"is {sha256_of(source)}. If you trust it, add --trust (nothing was read)"
        )
    from safetensors.torch import save

    from ..models.dvae import read_published_encoder

    encoder = read_published_encoder(source)
    write_atomic(save(encoder.state_dict()), target)
    parameters = sum(tensor.numel() for tensor in encoder.state_dict().values())
    print(f"{source} (SHA-256 {sha256_of(source)}) -> {target}: {parameters} parameters")
