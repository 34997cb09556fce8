package crdt

// Kind is a replicated data type.
type Kind uint8

// The kinds. Their numbers stand in stored states.
const (
	// GCounter only grows.
	GCounter Kind = iota + 1
	// PNCounter grows and shrinks.
	PNCounter
	// GSet only takes elements.
	GSet
	// ORSet takes and loses elements; an addition wins over a removal that had not seen it.
	ORSet
	// LWWRegister keeps the value that was written with the greatest clock.
	LWWRegister
	// Flag is switched on once.
	Flag
	// ORMap has a value of any kind for each key; an update wins over a removal that had not seen it.
	ORMap
	// Vote counts the members that say yes.
	Vote
)

var kinds = [...]string{
	GCounter: "GCounter", PNCounter: "PNCounter", GSet: "GSet", ORSet: "ORSet",
	LWWRegister: "LWWRegister", Flag: "Flag", ORMap: "ORMap", Vote: "Vote",
}

func (k Kind) String() string {
	if k < GCounter || int(k) >= len(kinds) {
		return "no kind"
	}
	return kinds[k]
}

// Clock says how the clock of a write to an LWWRegister is found.
type Clock uint8

const (
	// ClockDefault is the time in milliseconds, or one more than the register's if that is not later.
	ClockDefault Clock = iota
	// ClockReverse is the negated time, or one less than the register's: the first write wins.
	ClockReverse
	// ClockCustom is the number that comes with the write.
	ClockCustom
	// ClockAutoIncrement is the number that comes with the write, or one more than the register's if that is not greater.
	ClockAutoIncrement
)
