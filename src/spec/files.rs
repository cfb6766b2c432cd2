//! What an experiment calls things in files of weights, so that files of other programs are understood too.

/// Parameters that can be left as they are together, and whose movement is told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// In sweep files and tables.
    pub name: &'static str,
    /// The first part of its parameters' names, up to the dot.
    pub prefix: &'static str,
    /// Whether it belongs to the backbone; the rest is the head.
    pub is_backbone: bool,
}

/// What an experiment calls things in files of weights.
#[derive(Debug)]
pub struct Files {
    /// What weights are trained by, in this order; the file after an epoch is called `<phase>_epoch<N>`.
    pub phases: &'static [&'static str],
    /// Groups of parameters, in the order of the model.
    pub groups: &'static [Group],
    /// Parameters that all its models have: a file with these is one of its checkpoints, whoever wrote it.
    pub always: &'static [&'static str],
    /// What precedes the parameters' names where its model is part of a larger one.
    pub nested: &'static str,
    /// The key that says which groups are left as they are; in headers too.
    pub frozen: &'static str,
    /// Switches of older scripts that stand for a set of groups: their name, and the set's.
    pub switches: &'static [(&'static str, &'static str)],
    /// Keys of older scripts, and what they are called now.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Figures that files of older scripts state.
    pub stated: &'static [&'static str],
}

impl Files {
    /// Of an experiment that has written all its files itself.
    pub const PLAIN: Files = Files {
        phases: &[],
        groups: &[],
        always: &[],
        nested: "",
        frozen: "frozen",
        switches: &[],
        renamed: &[],
        stated: &[],
    };
}
