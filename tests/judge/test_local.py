"""A model in this process: by what its folder is known."""

from safegrpo.judge.local import fingerprint


def test_a_folder_is_known_by_its_weights_wherever_they_changed(tmp_path) -> None:
    weights = bytearray(3_000_000)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(weights)
    first = fingerprint(tmp_path)
    assert first == fingerprint(tmp_path) and len(first["fingerprint"]) == 16
    weights[1_000_000:1_100_000] = b"x" * 100_000
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert fingerprint(tmp_path) != first
    assert fingerprint(tmp_path / "org/name") == {}
