"""rtc_inference whose policy's weights never come, as from a file server that is gone."""

import sys
import time
import types

from rtc_ros.inference import node as inference_node


class NeverLoads:
    """In the real policy's place."""

    @classmethod
    def load(cls, *_, **__):
        print("loading for ever", flush=True)
        while True:
            time.sleep(1.0)


if __name__ == "__main__":
    module = types.ModuleType("rtc_ros.policy.adapter")
    module.FlowAdapter = NeverLoads
    sys.modules["rtc_ros.policy.adapter"] = module
    inference_node.main()
