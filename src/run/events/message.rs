//! TensorBoard's events as protocol buffers, written by hand: `tensorboard/compat/proto/{event,summary,tensor}.proto`.

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// Seconds since 1970.
    pub(super) time: f64,
    pub(super) step: u64,
    pub(super) content: Content,
}

/// The content of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// The format of the file, which every file begins with.
    Version,
    /// Events of this step and later ones are to be forgotten.
    Restart,
    /// Numbers by their tags. TensorBoard has them in single precision.
    Scalars(Vec<(String, f64)>),
    /// A PNG.
    Image { tag: &'static str, height: u32, width: u32, channels: u32, png: Vec<u8> },
    /// A text in Markdown.
    Text { tag: &'static str, text: String },
}

impl Content {
    /// A PNG, whose size is read from its header (PNG 11.2.2); `None` for anything else.
    pub(super) fn image(tag: &'static str, png: Vec<u8>) -> Option<Content> {
        let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?.first_chunk::<10>()?;
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (width, height) = (number(0), number(4));
        let channels = if header[9] & 2 == 0 { 1 } else { 3 };
        Some(Content::Image { tag, height, width, channels, png })
    }

    /// A file's text as it is, which Markdown shows so where it is indented.
    pub(super) fn text(tag: &'static str, text: &str) -> Content {
        let text = text.lines().map(|line| format!("    {line}\n")).collect();
        Content::Text { tag, text }
    }
}

impl Event {
    pub(super) fn version(time: f64) -> Event {
        Event { time, step: 0, content: Content::Version }
    }

    pub(super) fn restart(time: f64, step: u64) -> Event {
        Event { time, step, content: Content::Restart }
    }

    /// As a message `Event`.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut event = Message::default();
        event.fixed64(1, self.time.to_bits());
        event.number(2, self.step);
        match &self.content {
            Content::Version => event.bytes(3, b"brain.Event:2"),
            // SessionLog.status = START
            Content::Restart => event.message(7, |log| log.number(1, 1)),
            content => event.message(5, |summary| summarise(summary, content)),
        }
        event.0
    }
}

/// The fields of a message `Summary`.
fn summarise(summary: &mut Message, content: &Content) {
    match content {
        Content::Scalars(figures) => {
            for (tag, value) in figures {
                summary.message(1, |one| {
                    one.bytes(1, tag.as_bytes());
                    one.fixed32(2, (*value as f32).to_bits());
                });
            }
        }
        Content::Image { tag, height, width, channels, png } => summary.message(1, |one| {
            one.bytes(1, tag.as_bytes());
            one.message(4, |image| {
                [height, width, channels]
                    .into_iter()
                    .zip(1..)
                    .for_each(|(&size, field)| image.number(field, size.into()));
                image.bytes(4, png);
            });
        }),
        Content::Text { tag, text } => summary.message(1, |one| {
            one.bytes(1, tag.as_bytes());
            one.message(8, |tensor| {
                // DT_STRING, in the shape [1]
                tensor.number(1, 7);
                tensor.message(2, |shape| shape.message(2, |dim| dim.number(1, 1)));
                tensor.bytes(8, text.as_bytes());
            });
            one.message(9, |metadata| metadata.message(1, |plugin| plugin.bytes(1, b"text")));
        }),
        Content::Version | Content::Restart => {}
    }
}

/// A message as it is written, field by field.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, bits: u64) {
        self.key(field, 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, bits: u32) {
        self.key(field, 5);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// The fields that are read back from an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) step: u64,
    /// The tags of its summary.
    pub(super) tags: Vec<String>,
}

/// Reads an event's step and tags; `None` for what is no message.
pub(super) fn seen(event: &[u8]) -> Option<Seen> {
    let mut found = Seen::default();
    for (field, value) in fields(event)? {
        match (field, value) {
            (2, Field::Number(step)) => found.step = step,
            (5, Field::Bytes(summary)) => {
                for (_, value) in fields(summary)? {
                    let Field::Bytes(value) = value else { return None };
                    let tags = fields(value)?.into_iter().filter_map(|(field, value)| match (field, value) {
                        (1, Field::Bytes(tag)) => String::from_utf8(tag.to_vec()).ok(),
                        _ => None,
                    });
                    found.tags.extend(tags);
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of 4 or 8 bytes.
    Fixed(&'a [u8]),
}

/// The fields of a message, in order.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            Some(taken)
        };
        let value = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => Field::Fixed(take(8)?),
            5 => Field::Fixed(take(4)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (taken, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Field::Bytes(taken)
            }
            _ => return None,
        };
        found.push((key >> 3, value));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `tensorboard.compat.proto.event_pb2` makes from the same fields.
    #[test]
    fn an_event_is_that_of_tensorboard() {
        let event = Event { time: 1.5, step: 7, content: Content::Version };
        assert_eq!(event.encoded(), b"\x09\0\0\0\0\0\0\xf8\x3f\x10\x07\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn whatever_is_read_makes_no_panic() {
        let content = Content::Scalars(vec![("loss_d".into(), 0.5), ("loss_g".into(), f64::NAN)]);
        let event = Event { time: 1.5, step: 1 << 40, content }.encoded();
        let tags = vec!["loss_d".to_string(), "loss_g".into()];
        assert_eq!(seen(&event), Some(Seen { step: 1 << 40, tags }));
        for length in 0..event.len() {
            seen(&event[..length]);
        }
        for byte in 0..event.len() {
            let mut damaged = event.clone();
            damaged[byte] ^= 0xff;
            seen(&damaged);
        }
        assert_eq!(seen(&[0xff; 20]), None);
    }
}
