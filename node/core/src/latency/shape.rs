//! What the time of an answer depends on, beside the upstream and the model.

/// How an answer arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnswerClass {
    /// As it is made: its first byte shows how long the prompt took.
    #[default]
    Stream,
    /// When all of it is made: its first byte is its last, and says nothing about streams.
    Whole,
}

impl AnswerClass {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stream, Self::Whole];

    /// One word for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Whole => "answer",
        }
    }
}

/// What of a request its answer's time depends on. By default, a stream for a short prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestShape {
    /// How its answer arrives.
    pub class: AnswerClass,
    /// The length of its body in bytes; saturates.
    pub body_bytes: u32,
}

impl RequestShape {
    /// A request with a body of `body_bytes`, for a stream or not.
    pub fn new(is_stream: bool, body_bytes: usize) -> Self {
        Self {
            class: match is_stream {
                true => AnswerClass::Stream,
                false => AnswerClass::Whole,
            },
            body_bytes: u32::try_from(body_bytes).unwrap_or(u32::MAX),
        }
    }

    /// A short prompt whose answer arrives in `class`.
    pub const fn short(class: AnswerClass) -> Self {
        Self {
            class,
            body_bytes: 0,
        }
    }
}

/// One of something for each class of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass<T> {
    /// Of streams.
    pub stream: T,
    /// Of whole answers.
    pub whole: T,
}

impl<T> ByClass<T> {
    /// That of `class`.
    pub const fn of(&self, class: AnswerClass) -> &T {
        match class {
            AnswerClass::Stream => &self.stream,
            AnswerClass::Whole => &self.whole,
        }
    }

    /// That of `class`, to be changed.
    pub const fn of_mut(&mut self, class: AnswerClass) -> &mut T {
        match class {
            AnswerClass::Stream => &mut self.stream,
            AnswerClass::Whole => &mut self.whole,
        }
    }

    /// What `make` makes for each.
    pub fn each(mut make: impl FnMut(AnswerClass) -> T) -> Self {
        Self {
            stream: make(AnswerClass::Stream),
            whole: make(AnswerClass::Whole),
        }
    }
}
