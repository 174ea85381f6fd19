"""The message `tf.train.Example`, without importing TensorFlow, which takes seconds.

The classes have their own descriptor pool, so that they do not clash with those of
TensorFlow. The serialized bytes are the same.

Source: tensorflow/core/example/{feature,example}.proto.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_FLOAT = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT
_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _add_field(message, name, number, kind, *, label=_ONE, message_type=None):
    field = message.field.add(name=name, number=number, type=kind, label=label)
    if message_type:
        field.type_name = f".tensorflow.{message_type}"
    return field


def _example_class():
    file = descriptor_pb2.FileDescriptorProto(
        name="kerasseg/example.proto", package="tensorflow", syntax="proto3"
    )
    lists = {"BytesList": _BYTES, "FloatList": _FLOAT, "Int64List": _INT64}
    for name, kind in lists.items():
        _add_field(file.message_type.add(name=name), "value", 1, kind, label=_MANY)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        kind = name.title().replace("_", "")
        field = _add_field(feature, name, number, _MESSAGE, message_type=kind)
        field.oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _STRING)
    _add_field(entry, "value", 2, _MESSAGE, message_type="Feature")
    kind = "Features.FeatureEntry"
    _add_field(features, "feature", 1, _MESSAGE, label=_MANY, message_type=kind)
    example = file.message_type.add(name="Example")
    _add_field(example, "features", 1, _MESSAGE, message_type="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("tensorflow.Example")
    return message_factory.GetMessageClass(descriptor)


Example = _example_class()
