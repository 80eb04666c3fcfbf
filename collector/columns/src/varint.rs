//! Unsigned LEB128 numbers, and a reader of untrusted bytes that never panics.

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end in the middle of something.
    #[error("the bytes end too early")]
    Truncated,
    /// A number does not fit where it belongs.
    #[error("a number is out of range")]
    OutOfRange,
    /// Something follows the end.
    #[error("{extra} bytes follow the end")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A later program wrote them, or they are damaged.
    #[error("version {version} is unknown")]
    Version {
        /// The first byte.
        version: u8,
    },
    /// They are not what was written.
    #[error("the checksum is {found:08x} and should be {stored:08x}")]
    Checksum {
        /// Of the bytes as they are.
        found: u32,
        /// As written beside them.
        stored: u32,
    },
}

/// Appends `value` in groups of seven bits, least first.
pub fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

/// Appends a signed number, small ones of either sign in few bytes.
pub fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, zigzag(value));
}

/// Folds a signed number into an unsigned one, small if it was near 0.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// What [`zigzag`] folded.
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Reads numbers off the front of bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// At the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    /// The next number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end, [`DecodeError::OutOfRange`] beyond 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, DecodeError> {
        // Most numbers take one byte or two.
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::OutOfRange);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::OutOfRange)
    }

    /// The next signed number, as [`put_signed`] wrote it.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        self.number().map(unzigzag)
    }

    /// The next `len` bytes as they are.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (first, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    /// Bytes that are left.
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether all is read.
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next number, of 32 bits.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end, [`DecodeError::OutOfRange`] beyond 32 bits.
    pub fn number_u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.number()?).map_err(|_| DecodeError::OutOfRange)
    }

    /// The bytes must have ended.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if they have not.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }
}
