"""A lack of memory lowers what frees memory on the device it is lacking on."""

import pytest

from medsent.engine.footprint import Footprint


def steps(first: Footprint) -> list[Footprint]:
    """Return each that follows."""
    found, at = [], first.smaller()
    while at is not None:
        found.append(at)
        at = at.smaller()
    return found


def test_on_a_gpu_the_batch_shrinks_and_the_part_of_the_memory() -> None:
    assert steps(Footprint(1024, 16384, 0.9)) == [
        Footprint(256, 4096, 0.8),
        Footprint(64, 1024, 0.7),
        Footprint(16, 1024, 0.6),
        Footprint(16, 1024, 0.5),
    ]


def test_on_a_cpu_the_batch_and_the_cache_shrink() -> None:
    assert steps(Footprint(64, 2048, kv_cache_gib=4)) == [
        Footprint(16, 1024, kv_cache_gib=2),
        Footprint(16, 1024, kv_cache_gib=1),
    ]


def test_where_the_cache_has_no_room_its_part_of_the_memory_stays() -> None:
    first = Footprint(64, 4096, 0.9)
    assert first.smaller(for_cache=True) == Footprint(16, 1024, 0.9)
    assert Footprint(16, 1024, 0.9).smaller(for_cache=True) is None


def test_a_scripted_engine_halves_its_sequences() -> None:
    assert [each.max_num_seqs for each in steps(Footprint(5))] == [2, 1]


@pytest.mark.parametrize("seqs", [1, 3, 100, 1024])
@pytest.mark.parametrize("tokens", [1024, 1500, 16384])
def test_a_step_holds_as_many_tokens_as_sequences(seqs: int, tokens: int) -> None:
    for each in steps(Footprint(seqs, tokens, 0.9)):
        assert each.max_num_batched_tokens is not None
        assert each.max_num_batched_tokens >= each.max_num_seqs
        assert each.max_num_seqs <= seqs


def test_it_is_told_in_words_and_with_what_to_do() -> None:
    assert str(Footprint(8)) == "8 sequences at a time"
    assert str(Footprint(64, 2048, kv_cache_gib=2)) == (
        "64 sequences and 2048 tokens at a time, 2 GiB of KV cache"
    )
    assert "tensor_parallel_size" in Footprint(1, 1024, 0.9).remedy
    assert "machine with more memory" in Footprint(1, 1024, kv_cache_gib=1).remedy
    assert "engine.max_num_seqs" in Footprint(1).remedy


def test_vllm_is_given_what_there_is_of_it() -> None:
    assert Footprint(64, 2048, kv_cache_gib=2).arguments() == {
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
    }
    assert Footprint(256, 4096, 0.8).arguments()["gpu_memory_utilization"] == 0.8
