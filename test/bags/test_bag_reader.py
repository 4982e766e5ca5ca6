"""What `ros2 bag` leaves with its various settings is read, whole or cut off."""

import math
import struct

import pytest
import yaml
from bag_maker import STORE, TYPES, messages_of, write_bag

from rtc_ros.bags.parameters import recorded_parameters
from rtc_ros.bags.reader import Bag, BagError
from rtc_ros.bags.run_reader import read_run
from rtc_ros.core.continuity import judge
from rtc_ros.report.example_run import ExampleSettings, example_run
from rtc_ros.tools.continuity import main as continuity

RUN = ExampleSettings(ticks=120)
MAGIC = b"\x89MCAP0\r\n"


def record(code, body):
    return struct.pack("<BQ", code, len(body)) + body


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def without_chunks(path, messages):
    """Write an mcap file as the preset ``fastwrite`` does: neither chunks nor message indexes."""
    out, channels = [MAGIC, record(1, text("ros2") + text("libmcap 1.1.0"))], {}
    for topic, time_ns, message in messages:
        kind = message.__msgtype__
        if topic not in channels:
            number = channels[topic] = len(channels) + 1
            definition = STORE.generate_msgdef(kind, ros_version=2)[0]
            schema = text(kind) + text("ros2msg") + text(definition)
            out.append(record(3, struct.pack("<H", number) + schema))
            channel = text(topic) + text("cdr") + struct.pack("<I", 0)
            out.append(record(4, struct.pack("<HH", number, number) + channel))
        head = struct.pack("<HIQQ", channels[topic], 0, time_ns, time_ns)
        out.append(record(5, head + bytes(STORE.serialize_cdr(message, kind))))
    out += [record(0x0F, bytes(4)), record(2, bytes(20)), MAGIC]
    path.write_bytes(b"".join(out))
    return path


def received_late(run):
    """The run's messages with the chunks' log times behind those of what follows them."""
    for topic, time_ns, message in messages_of(run):
        yield topic, time_ns + (10**9 if topic.endswith("chunk") else 0), message


def test_a_file_without_chunks_and_out_of_order_is_read_whole(tmp_path):
    run = example_run(RUN)
    path = without_chunks(tmp_path / "bag.mcap", received_late(run))
    assert judge(read_run(path)).seams == judge(run).seams
    with Bag(path) as bag:
        found = [m for _, _, m in bag.messages("/rtc_inference/chunk")]
        assert len(found) == len(run.chunks) and bag.notes == []


@pytest.mark.parametrize("lost", [60, 400, 4000])
def test_cut_anywhere_it_is_read_up_to_there(tmp_path, lost):
    run = example_run(RUN)
    path = without_chunks(tmp_path / "bag.mcap", messages_of(run))
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    report = judge(read_run(path))
    assert judge(run).steps - 8 <= report.steps <= judge(run).steps
    assert report.misplaced_steps == 0
    assert any("up to the cut" in note for note in report.notes)


def said(text):
    return TYPES["std_msgs/msg/String"](text)


def test_the_last_parameters_of_each_node_make_a_parameter_file(tmp_path, capsys):
    run = list(messages_of(example_run(RUN)))
    node = '{"/rtc_inference": {"ros__parameters": {"s_min": %d, "cameras": ["top"]}}}'
    other = '{"/left/rtc_controller": {"ros__parameters": {"margin": .nan}}}'
    messages = [
        ("/rtc_inference/parameters", 1, said(node % 10)),
        ("/left/rtc_controller/parameters", 1, said(other)),
        ("/rtc_inference/parameters", 2, said(node % 12)),
        *run,
    ]
    bag = write_bag(tmp_path / "bag", messages)
    file = tmp_path / "was.yaml"
    assert continuity([str(bag), "--parameters", str(file)]) == 0
    tree = yaml.safe_load(file.read_text())
    assert tree["/rtc_inference"]["ros__parameters"] == {"s_min": 12, "cameras": ["top"]}
    assert list(tree) == ["/left/rtc_controller", "/rtc_inference"]
    assert math.isnan(tree["/left/rtc_controller"]["ros__parameters"]["margin"])
    without = write_bag(tmp_path / "without", run)
    assert continuity([str(without), "--parameters", str(file)]) == 2
    assert "has no parameters" in capsys.readouterr().err
    with pytest.raises(BagError, match="/n/parameters holds no parameters: it has no ros__"):
        recorded_parameters(write_bag(tmp_path / "odd", [("/n/parameters", 1, said("- 1"))]))
