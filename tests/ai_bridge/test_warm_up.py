from ai_bridge.kernels import say_batch, say_frames
from ai_bridge.resample import filter_block
from ai_bridge.warm_up import warm_up
from shm import doorbell, ring
from shm.jit import IS_COMPILED


def test_every_kernel_that_a_call_uses_is_loaded():
    warm_up()
    kernels = [say_batch, say_frames, filter_block, ring.collect, ring.load_word, ring.store_word, ring.set_turn]
    kernels += [doorbell.fall_asleep, doorbell.wake_up]
    assert all(not IS_COMPILED or kernel.signatures for kernel in kernels)
