//! Messages in a stream: a length of four bytes, little-endian, then that many bytes.

use thiserror::Error;

/// Bytes of one frame's body at most.
pub const MAX_FRAME: usize = 64 << 20;

/// The other side does not speak in frames.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a frame of {length} bytes is longer than {MAX_FRAME}")]
pub struct TooLong {
    pub length: usize,
}

/// Puts a frame's length before its body.
pub fn frame(body: &[u8]) -> Result<Vec<u8>, TooLong> {
    let length = body.len();
    if length > MAX_FRAME {
        return Err(TooLong { length });
    }
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// Takes a stream apart, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where in `bytes` the next frame begins.
    start: usize,
}

impl Frames {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend(bytes);
    }

    /// The body of the next frame, once all of it is there. After an error the stream is lost.
    pub fn pop(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let rest = &self.bytes[self.start..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(TooLong { length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let body = body.to_vec();
        self.start += 4 + length;
        Ok(Some(body))
    }

    /// Whether the stream may end here: no frame has begun.
    pub fn is_between(&self) -> bool {
        self.start == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_pieces(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
            size in 1usize..60,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body).unwrap()).collect();
            let (mut frames, mut found) = (Frames::new(), Vec::new());
            for piece in stream.chunks(size) {
                frames.push(piece);
                while let Some(body) = frames.pop().unwrap() {
                    found.push(body);
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(frames.is_between());
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_comes() {
        let mut frames = Frames::new();
        frames.push(&(MAX_FRAME as u32 + 1).to_le_bytes());
        assert_eq!(frames.pop(), Err(TooLong { length: MAX_FRAME + 1 }));
    }

    #[test]
    fn a_begun_frame_is_not_between() {
        let mut frames = Frames::new();
        frames.push(&[3, 0, 0, 0, 1]);
        assert_eq!(frames.pop(), Ok(None));
        assert!(!frames.is_between());
    }
}
