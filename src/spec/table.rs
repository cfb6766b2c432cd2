//! The tables of a sweep file that hold plain keys.

/// A table of the sweep file that holds plain keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Keys above the first table header.
    Top,
    /// One of the experiment's.
    Own(&'static OwnTable),
    Build,
    Eval,
    Endpoint,
    Command,
    Items,
    Export,
    Keep,
    Slurm,
}

/// A table of an experiment.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OwnTable {
    /// The name in the file.
    pub name: &'static str,
    /// One line for people: what the table is about.
    pub doc: &'static str,
    /// Whether its keys may be axes.
    pub axes: bool,
}

impl Table {
    /// The program's own tables below the first header, in the order in which they are documented.
    pub const CORE: [Self; 8] = [
        Self::Build,
        Self::Eval,
        Self::Endpoint,
        Self::Command,
        Self::Items,
        Self::Export,
        Self::Keep,
        Self::Slurm,
    ];

    /// Whether every experiment has it.
    pub(super) fn is_everywhere(self) -> bool {
        matches!(self, Self::Export | Self::Keep | Self::Slurm)
    }

    /// Whether it stands in another one.
    pub fn is_inner(self) -> bool {
        self.name().contains('.')
    }

    /// Whether it is the experiment's.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// The name in the file; empty for [`Table::Top`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Own(own) => own.name,
            Self::Build => "data.build",
            Self::Eval => "eval",
            Self::Endpoint => "eval.endpoint",
            Self::Command => "eval.command",
            Self::Items => "eval.items",
            Self::Export => "export",
            Self::Keep => "keep",
            Self::Slurm => "slurm",
        }
    }

    /// Whether its keys may be axes.
    pub fn has_axes(self) -> bool {
        matches!(self, Self::Own(own) if own.axes)
    }

    /// One line for people: what the table is about.
    pub fn doc(self) -> &'static str {
        match self {
            Self::Top => "the sweep itself",
            Self::Own(own) => own.doc,
            Self::Build => {
                "how the query groups are made where they are missing: pools and sequences for a judge to score"
            }
            Self::Eval => "how points are scored; without it the matrix has no score columns",
            Self::Endpoint => {
                "a server that answers questions, by OpenAI's protocol; each question is asked once"
            }
            Self::Command => "a program that answers and scores questions; each question is asked once",
            Self::Items => "what questions are made of",
            Self::Export => "checkpoints in foreign formats",
            Self::Keep => "what stays on disk of what a run computes",
            Self::Slurm => "how jobs are submitted to a cluster",
        }
    }
}
