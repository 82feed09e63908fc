//! One by one, in a circle.

use super::{Member, Topics};
use crate::cluster::TopicPartition;

pub(super) fn assign(topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let mut assignment = vec![Vec::new(); members.len()];
    let mut circle: Vec<usize> = (0..members.len()).collect();
    circle.sort_by_key(|&index| members[index].rank());
    let mut next = 0;
    for (topic, partitions) in topics {
        if !members.iter().any(|member| member.subscribes(topic)) {
            continue;
        }
        for partition in 0..partitions.len() as i32 {
            // Ends: somebody subscribes.
            while !members[circle[next]].subscribes(topic) {
                next = (next + 1) % circle.len();
            }
            assignment[circle[next]].push(TopicPartition::new(topic.clone(), partition));
            next = (next + 1) % circle.len();
        }
    }
    assignment
}
