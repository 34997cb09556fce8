package node

import "github.com/dapr-entities/entities/actors"

// StateBytes is how long the encoded state of an entity is that is in memory.
func (n *Node) StateBytes(ref actors.Ref) int {
	p := n.part(ref)
	defer p.enter()()
	return len(p.residents[ref].state.Full().AppendBinary(nil))
}
