//! How messages go over a connection: as protobuf, through buffers that begin small, and do not stay large for good.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// What a call's buffers hold at first, in bytes; they grow with what goes through them. tonic begins with 8 KiB in each
/// direction, which a session with thousands of workers, each of which says little, has for nothing.
const FIRST_BUFFER_BYTES: usize = 512;
/// A buffer is not kept for what comes later when so large a message has gone through it, in bytes.
const LARGE_BYTES: usize = 4 << 10;
/// Before each message: whether it is compressed, and its length.
const HEADER_BYTES: usize = 5;
/// What is written goes on its way once it is so much, in bytes: as much as tonic's own codec lets come together.
const YIELD_BYTES: usize = 32 << 10;

/// The codec of all calls: writes `T`, reads `U`.
#[derive(Debug, Clone)]
pub(crate) struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Exact<T>;
    type Decoder = LettingGo<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Exact(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        LettingGo { large: None, next_at: 0, item: PhantomData }
    }
}

/// Writes `T`, and makes room for no more than that: a buffer that doubles whenever it is full would be twice as large as what goes
/// through it, and so take twice as long to be full, and left for a smaller one.
#[derive(Debug)]
pub(crate) struct Exact<T>(PhantomData<T>);

impl<T: Message> Encoder for Exact<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}

/// Reads `U`, and lets go of the buffer that a large one has come through, such as a registration, which is said once: what reads a
/// stream would keep it for as long as the stream lasts. It can't be told to give a buffer back, but takes a new one where it finds that
/// somebody else still has a hold on its own.
#[derive(Debug)]
pub(crate) struct LettingGo<U> {
    /// The last large message, in the buffer that is to be left.
    large: Option<Bytes>,
    /// Where the next message begins while it still is that buffer.
    next_at: usize,
    item: PhantomData<U>,
}

impl<U: Message + Default> LettingGo<U> {
    fn read(&mut self, message: &mut impl Buf) -> Result<U, Status> {
        let length = message.remaining();
        let start = message.chunk().as_ptr().addr();
        if start != self.next_at {
            self.large = None;
        }
        self.next_at = start + length + HEADER_BYTES;
        let read = if length < LARGE_BYTES {
            U::decode(message)
        } else {
            let whole = message.copy_to_bytes(length);
            U::decode(self.large.insert(whole).clone())
        };
        read.map_err(|error| Status::internal(error.to_string()))
    }
}

impl<U: Message + Default> Decoder for LettingGo<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.read(message).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use prost::bytes::{BufMut as _, BytesMut};

    use super::*;

    /// As tonic does when a message has come.
    fn take_in(decoder: &mut LettingGo<Vec<u8>>, buffer: &mut BytesMut, message: &Vec<u8>) {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut frame).unwrap();
        let (first, rest) = frame.split_at(frame.len() / 2);
        buffer.put(first);
        buffer.advance(HEADER_BYTES);
        buffer.reserve(message.encoded_len());
        buffer.put(rest);
        assert_eq!(decoder.read(&mut buffer.take(message.encoded_len())).unwrap(), *message);
    }

    #[test]
    fn the_buffer_of_a_large_message_is_left_when_it_is_full() {
        let mut decoder = LettingGo { large: None, next_at: 0, item: PhantomData };
        let mut buffer = BytesMut::with_capacity(FIRST_BUFFER_BYTES);
        let (small, large) = (vec![1; 100], vec![2; 28_000]);
        take_in(&mut decoder, &mut buffer, &small);
        take_in(&mut decoder, &mut buffer, &large);
        assert!(decoder.large.is_some());
        // As many as go into what is left of it.
        for _ in 0..300 {
            take_in(&mut decoder, &mut buffer, &small);
        }
        assert!(decoder.large.is_none());
        for _ in 0..100 {
            take_in(&mut decoder, &mut buffer, &small);
            assert!(buffer.capacity() < 2 * LARGE_BYTES, "{}", buffer.capacity());
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut decoder = LettingGo::<Vec<u8>> { large: None, next_at: 0, item: PhantomData };
        assert_eq!(decoder.read(&mut &[0xff_u8; 9][..]).unwrap_err().code(), tonic::Code::Internal);
        assert!(decoder.read(&mut Bytes::from(vec![0xff; LARGE_BYTES])).is_err());
    }
}
