//! Which tasks are moved to even out nodes that are unevenly filled. Pure.
//!
//! How full a node is, is told as `spread` does: the largest of the reserved shares of cpu, memory and disk, plus a hundredth
//! for each task. A move gains what the fuller one of its two nodes becomes emptier by, where the fuller one afterwards may be
//! the other. What holds, and is tested:
//! - only nodes that take tasks are looked at, and each move fits at its moment when they are made in order: the target has
//!   the room before the source has given it back;
//! - every move gains at least what is asked for, and the gap between the fullest and the emptiest node never grows;
//! - a balanced cluster gives no moves; after all moves of a plan there are no others, unless it says that there are `more`;
//! - a task is moved once at most, and never when it is the last of a kind that others beside it are known to need;
//! - a task that was placed by an algorithm that packs stays: evening out would undo what it is for;
//! - no task is taken away from a node that it likes better, unless the move gains more than that;
//! - the order in which nodes and tasks are given does not matter.

mod board;
#[cfg(test)]
mod tests;

use davit_core::id::{NodeId, TaskId};
use davit_core::placement::NodeView;

use self::board::Board;

/// No plan moves for less: amounts below are errors of rounding.
const LEAST_GAIN: f64 = 1e-6;

/// Moves that even nodes out.
#[derive(Debug, Clone, PartialEq)]
pub struct MovePlan {
    /// In the order in which they are to be made.
    pub moves: Vec<PlannedMove>,
    /// How much fuller the fullest node is than the emptiest, as a share of a node.
    pub imbalance_before: f64,
    /// The same after all moves.
    pub imbalance_after: f64,
    /// Whether another move would gain something: either the moves were as many as they may be, or a task would have to be moved
    /// a second time.
    pub more: bool,
    /// For people: what was not looked at, and why. Empty if all was.
    pub note: String,
}

/// One task that goes to another node.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedMove {
    /// Which task.
    pub task_id: TaskId,
    /// Where it is.
    pub from: NodeId,
    /// Where it goes.
    pub to: NodeId,
    /// How much emptier the fuller one of the two becomes, as a share of a node.
    pub gain: f64,
    /// For people: `node-3 carries 62%, node-7 12%; afterwards 51% and 23%`.
    pub reason: String,
}

/// Plans up to so many moves that gain at least `min_gain` each. Again and again the fullest node from which a move gains
/// enough gives the task that gains the most to the node where it gains the most, until no move does.
///
/// What a move costs is about the tasks of one node and a few targets, and a look at the nodes that could give nothing before.
#[must_use]
pub fn plan_moves(nodes: &[NodeView], max_moves: usize, min_gain: f64) -> MovePlan {
    // `max` also takes care of what is no number.
    let mut board = Board::new(nodes, min_gain.max(LEAST_GAIN));
    let imbalance_before = board.imbalance();
    let mut moves: Vec<PlannedMove> = Vec::new();
    let mut more = false;
    while let Some(step) = board.best_step() {
        if moves.len() >= max_moves {
            more = true;
            break;
        }
        moves.push(board.make(&step));
    }
    let more = more || board.has_second_move();
    MovePlan { moves, imbalance_before, imbalance_after: board.imbalance(), more, note: board.note() }
}
