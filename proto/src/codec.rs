//! How messages go over a connection: as protobuf, through buffers that begin small.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// What a call's buffers hold at first, in bytes; they grow with what goes through them. tonic begins with 8 KiB in each
/// direction, which a session with thousands of workers, each of which says little, has for nothing.
const FIRST_BUFFER_BYTES: usize = 512;
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
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(FIRST_BUFFER_BYTES, YIELD_BYTES))
    }
}
