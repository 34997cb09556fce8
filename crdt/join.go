package crdt

// join is one join of a delta into an entity, on its way through the value.
type join struct {
	ctx *Ctx
	// sweeps of the bodies around the place where the join is, and of the one that is there.
	sweeps   []*Ctx
	digest   uint64
	size     int
	inflated bool
}

func (j *join) gain(hash uint64, size int) {
	j.digest += hash
	j.size += size
	j.inflated = true
}

func (j *join) lose(hash uint64, size int) {
	j.digest -= hash
	j.size -= size
	j.inflated = true
}

// see a dot that is added or dead.
func (j *join) see(d Dot) {
	if j.ctx.Add(d) {
		j.inflated = true
	}
}

func (j *join) swept(d Dot) bool {
	for _, s := range j.sweeps {
		if s.Has(d) {
			return true
		}
	}
	return false
}

// descend joins b, which may be nil, into a value.
func (j *join) descend(s store, b *body, ch *change) {
	around := j.enter(b)
	s.join(j, b, ch)
	j.sweeps = around
}

// enter takes up the sweep of a body and returns the sweeps around it.
func (j *join) enter(b *body) (around []*Ctx) {
	around = j.sweeps
	// What has never been seen here cannot live here, so most sweeps need no walk.
	if b != nil && b.sweep.overlaps(j.ctx) {
		j.sweeps = append(j.sweeps, &b.sweep)
	}
	return around
}

// sweepAll adds all that b sweeps to the context, once everything is joined.
func (j *join) sweepAll(b *body) {
	if b == nil {
		return
	}
	if j.ctx.Union(&b.sweep) {
		j.inflated = true
	}
	for i := range b.entries {
		j.sweepAll(b.entries[i].body)
	}
}
