//! The same message as the same text, each time: fields in the order of the `.proto` file, map keys in their own. Else
//! maps would come in another order with every run, and two outputs could not be compared.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;

/// A message as canonical JSON with its fields in order.
pub(super) struct Ordered {
    descriptor: MessageDescriptor,
    value: Value,
}

impl Ordered {
    /// # Errors
    /// When the message has no JSON form.
    pub(super) fn new(message: &DynamicMessage) -> Result<Self, serde_json::Error> {
        Ok(Self { descriptor: message.descriptor(), value: serde_json::to_value(message)? })
    }
}

impl Serialize for Ordered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Part { descriptor: &self.descriptor, value: &self.value }.serialize(serializer)
    }
}

/// A message, or a list of messages, inside another.
struct Part<'a> {
    descriptor: &'a MessageDescriptor,
    value: &'a Value,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                let mut fields: Vec<_> = self.descriptor.fields().collect();
                fields.sort_by_key(FieldDescriptor::number);
                for field in fields {
                    let Some(value) = object.get(field.json_name()) else { continue };
                    match field.kind() {
                        Kind::Message(descriptor) if !field.is_map() => {
                            map.serialize_entry(field.json_name(), &Part { descriptor: &descriptor, value })?;
                        }
                        // The keys of a map are in order already.
                        _ => map.serialize_entry(field.json_name(), value)?,
                    }
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Part { descriptor: self.descriptor, value })?;
                }
                list.end()
            }
            // A time, a duration: messages that have a text of their own.
            text => text.serialize(serializer),
        }
    }
}
