package crdt

// Entity is one replicated value. The zero Entity is without a value, of no kind, and takes the kind of the first update
// or delta. It is not safe for concurrent use; one goroutine owns it.
type Entity struct {
	kind Kind
	gen  uint32
	ctx  Ctx
}

// New returns an entity without a value of a generation. Generation 0 is the first; a deleted entity is created again in a
// later one.
func New(generation uint32) *Entity { return &Entity{gen: generation} }

// Kind is 0 as long as there is no value.
func (e *Entity) Kind() Kind { return e.kind }

// Generation counts how often the entity was created again after a deletion.
func (e *Entity) Generation() uint32 { return e.gen }

// Deleted says that the entity is deleted in its generation.
func (e *Entity) Deleted() bool { panic("to come") }

// Ctx is what the entity has seen. It is empty for counters, registers, flags and votes that are not nested. It must
// not be changed; Snapshot it to keep it.
func (e *Entity) Ctx() *Ctx { return &e.ctx }

// Digest is equal, but for collisions, if and only if the states are: value, metadata, context, generation. It costs time
// in proportion to the slots.
func (e *Entity) Digest() uint64 { panic("to come") }

// Size is roughly the encoded size of the state in bytes, known without encoding it.
func (e *Entity) Size() int { panic("to come") }

// Value is the whole value as an update of the zero value, nil if there is none or it is deleted. Votes are counted
// against m; nil means that nobody is live.
func (e *Entity) Value(m *Members) *Update { panic("to come") }

// Apply performs what a user function said as of what it had seen, and returns the delta for the other members, nil if
// nothing changed. seen is what removals and clears may touch; nil means everything that is here. ch, unless nil, gets what
// changed for others than this user function. lost reports that a write to a register did not become visible. After an error
// nothing has changed.
func (e *Entity) Apply(w *Writer, u *Update, seen *Ctx, ch *Changes) (d *Delta, lost bool, err error) {
	panic("to come")
}

// Join merges a delta or a full state. ch, unless nil, gets what changed. inflated is false if nothing was new. A delta of
// an earlier generation is nothing new. After an error nothing has changed.
func (e *Entity) Join(d *Delta, ch *Changes) (inflated bool, err error) { panic("to come") }

// Full is the whole state.
func (e *Entity) Full() *Delta { panic("to come") }

// Since is what somebody with this context lacks: what was added, and what was added and removed since. What was
// removed of that which he has seen, only Kills knows. For a kind without context it is the whole state. Nil if nothing.
func (e *Entity) Since(peer *Ctx) *Delta { panic("to come") }

// LiveDots of all slots, or of none for a kind without context: what a peer compares by Kills.
func (e *Entity) LiveDots() *Ctx { panic("to come") }

// Kills is what somebody with these live dots must be told to lose, nil if nothing.
func (e *Entity) Kills(peerLive *Ctx) *Delta { panic("to come") }

// Stable folds the writer's own nested counter events that are in upto, which is what every live member is known to have
// seen at once. Nil if there is nothing to fold.
func (e *Entity) Stable(w *Writer, upto *Ctx) *Delta { panic("to come") }

// Delete deletes the entity in its generation. Deleting a deleted entity returns nil.
func (e *Entity) Delete(w *Writer, ch *Changes) *Delta { panic("to come") }

// Seal closes the epochs of a slot up to one. It is for the state in the store after the barrier. The delta carries what
// others must know of it, the receipt what the slot's owner needs if he still lives.
func (e *Entity) Seal(s Slot, through Epoch) (*Receipt, *Delta, error) { panic("to come") }

// Rehome writes again, as w, what own has of the receipt's slot and epochs and the receipt does not: own is the state of a
// process that was fenced. It is done once, by that process; the receipt gets what moved where, and must be stored with
// the delta.
func (e *Entity) Rehome(own *Entity, r *Receipt, w *Writer, ch *Changes) (*Delta, error) { panic("to come") }

// Receipt says what of a slot's epochs was in the state that was sealed.
type Receipt struct {
	Slot    Slot
	Through Epoch
}

// Follow looks in a delta for removals of dots that the sealed state never had: those that were moved are removed
// where they are now, by the delta returned (nil if none); the others are recorded, so that they are not moved any more.
func (r *Receipt) Follow(d *Delta) *Delta { panic("to come") }

// AppendBinary appends the canonical encoding.
func (r *Receipt) AppendBinary(b []byte) []byte { panic("to come") }

// DecodeReceipt is strict.
func DecodeReceipt(b []byte) (*Receipt, error) { panic("to come") }

// Delta is a change of a replicated state, or a whole one. Entities do not keep what they join and do not change what
// they returned, except that a Delta may share the bytes of Keys.
type Delta struct {
	kind Kind
	gen  uint32
}

// Kind of the entity; 0 for a deletion of one without a value.
func (d *Delta) Kind() Kind { return d.kind }

// Generation of the entity.
func (d *Delta) Generation() uint32 { return d.gen }

// Deleted says that it is a deletion.
func (d *Delta) Deleted() bool { panic("to come") }

// Ctx is what the delta adds to the context of who joins it: exactly the dots it adds or removes.
func (d *Delta) Ctx() *Ctx { panic("to come") }

// Join makes d the join of both. It does not change o, but shares its memory. After an error d is unchanged.
func (d *Delta) Join(o *Delta) error { panic("to come") }

// Size is roughly the encoded size in bytes.
func (d *Delta) Size() int { panic("to come") }

// AppendBinary appends the canonical encoding.
func (d *Delta) AppendBinary(b []byte) []byte { panic("to come") }

// DecodeDelta is strict: what it accepts, AppendBinary writes again. The Delta does not share b's memory.
func DecodeDelta(b []byte, limits Limits) (*Delta, error) { panic("to come") }

// Changes collects what Apply and Join changed in the value, for Views. The zero Changes is ready for use and can be used
// again after Reset.
type Changes struct{ some bool }

// Reset forgets all changes but keeps the memory.
func (c *Changes) Reset() { panic("to come") }

// Empty says that nothing changed.
func (c *Changes) Empty() bool { return !c.some }

// View is what one user function believes. It belongs to the goroutine that owns the entity. The zero View believes that
// there is no value.
//
// Apply's and Join's Changes are given to Note of every View of the entity, but not those of an Apply to the View whose user
// function said it: that one gets Own. While a user function is busy nothing is flushed.
type View struct{ seen Ctx }

// Begin returns the whole value, nil if there is none, and takes it as told.
func (v *View) Begin(e *Entity, m *Members) *Update { panic("to come") }

// Seen is what Apply needs of this user function.
func (v *View) Seen() *Ctx { return &v.seen }

// Note takes up what changed by others. It does not keep ch.
func (v *View) Note(ch *Changes) { panic("to come") }

// Own takes up what the user function itself said, right after Apply, with the delta that Apply returned, which may be nil.
func (v *View) Own(e *Entity, u *Update, d *Delta) { panic("to come") }

// Flush returns what the user function must be told to believe the value of e, nil if nothing, and takes it as told. A
// PNCounter may need more than one Flush. e must not be deleted.
func (v *View) Flush(e *Entity, m *Members) *Update { panic("to come") }
