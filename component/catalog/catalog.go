package catalog

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// The protocol version that is spoken.
const (
	ProtocolMajor = 0
	ProtocolMinor = 2
)

// Extensions of the protocol that the component understands, in the order in which it announces them.
var Extensions = []string{"codes", "metadata", "sequence", "idempotency", "events", "json", "targets", "pipeline", "delayed"}

var entityTypes = map[actors.Kind]string{
	actors.EventSourced: "cloudstate.eventsourced.EventSourced",
	actors.Value:        "cloudstate.valueentity.ValueEntity",
	actors.Replicated:   "cloudstate.crdt.Crdt",
	actors.Action:       "cloudstate.action.ActionProtocol",
}

// EntityType is the name of a kind in the protocol: the full name of the protocol service that handles it.
func EntityType(k actors.Kind) string { return entityTypes[k] }

// Supported returns the kinds that this version of the component serves.
func Supported() []actors.Kind {
	return []actors.Kind{actors.EventSourced, actors.Value, actors.Replicated, actors.Action}
}

// JournalActorType is the actor type by which hosts compare their journals. No service may have it.
const JournalActorType = "EntitiesJournal"

// Options of a Catalog. The zero value is usable.
type Options struct {
	// ActorTypes renames services: from a service's full name to its actor type. Defaults to the simple name of each.
	ActorTypes map[string]string
	// Supported kinds of service. Defaults to Supported().
	Supported []actors.Kind
	// MaxBytes is the largest payload that Decode takes, before and after it was turned into the user function's form.
	// Defaults to 4 MiB.
	MaxBytes int
	// MaxDepth is how deep a payload's values may be nested. Defaults to 100.
	MaxDepth int
}

func (o Options) withDefaults() Options {
	o.MaxBytes = cmp.Or(o.MaxBytes, 4<<20)
	o.MaxDepth = cmp.Or(o.MaxDepth, 100)
	if o.Supported == nil {
		o.Supported = Supported()
	}
	return o
}

// Catalog is what a user function serves. It is immutable, and may be used from many goroutines at once.
type Catalog struct {
	services []*Service
	byName   map[string]*Service
	byActor  map[string]*Service
	files    *protoregistry.Files
	types    *dynamicpb.Types
	digest   [sha256.Size]byte
}

// Service is a type of entity and its commands.
type Service struct {
	// Name in full, package included.
	Name string
	// ActorType under which Dapr knows it.
	ActorType string
	// Persistence is the name under which the journal knows it. Defaults to Name if the user function gave none.
	Persistence string
	Kind        actors.Kind
	// Idle is how long an entity stays in memory without a command; 0 means the configured default.
	Idle time.Duration
	// Extensions that the user function understands, of those that we do.
	Extensions map[string]bool

	methods map[string]*Method
}

// New checks a spec and makes a Catalog of it. The error joins all problems.
func New(spec *cloudstate.EntitySpec, opt Options) (*Catalog, error) {
	opt = opt.withDefaults()
	var problems []error
	if err := checkVersion(spec.GetServiceInfo()); err != nil {
		problems = append(problems, err)
	}
	files, fileSet, err := resolve(spec.GetProto())
	if err != nil {
		problems = append(problems, err)
	}
	if len(spec.GetEntities()) == 0 {
		problems = append(problems, errors.New("the user function announces no entities; register at least one service"))
	}
	c := &Catalog{
		byName:  make(map[string]*Service),
		byActor: make(map[string]*Service),
		files:   files,
		types:   dynamicpb.NewTypes(files),
	}
	b := builder{
		options:    opt,
		types:      c.types,
		files:      files,
		broken:     err != nil,
		extensions: known(spec.GetServiceInfo().GetExtensions()),
	}
	for _, e := range spec.GetEntities() {
		s, errs := b.service(e)
		problems = append(problems, errs...)
		if s != nil {
			c.services = append(c.services, s)
		}
	}
	problems = append(problems, c.index()...)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	c.digest = digest(c.services, fileSet)
	return c, nil
}

// Described knows the messages of a serialized FileDescriptorSet, and those of protobuf itself, and has no services.
func Described(set []byte) (*Catalog, error) {
	files, _, err := resolve(set)
	if err != nil {
		return nil, err
	}
	for _, f := range []protoreflect.FileDescriptor{
		anypb.File_google_protobuf_any_proto, durationpb.File_google_protobuf_duration_proto, emptypb.File_google_protobuf_empty_proto,
		structpb.File_google_protobuf_struct_proto, timestamppb.File_google_protobuf_timestamp_proto,
		wrapperspb.File_google_protobuf_wrappers_proto,
	} {
		if _, err := files.FindFileByPath(f.Path()); err == nil {
			continue
		}
		if err := files.RegisterFile(f); err != nil {
			return nil, err
		}
	}
	return &Catalog{byName: map[string]*Service{}, byActor: map[string]*Service{}, files: files, types: dynamicpb.NewTypes(files)}, nil
}

func checkVersion(info *cloudstate.ServiceInfo) error {
	major, minor := info.GetProtocolMajorVersion(), info.GetProtocolMinorVersion()
	if major == ProtocolMajor && minor == ProtocolMinor {
		return nil
	}
	unset := ""
	if major == 0 && minor == 0 {
		unset = " (or announces no version)"
	}
	return fmt.Errorf("the user function speaks protocol version %d.%d%s; only %d.%d is supported: use a support library of that version",
		major, minor, unset, ProtocolMajor, ProtocolMinor)
}

func known(announced []string) map[string]bool {
	ext := make(map[string]bool)
	for _, name := range announced {
		if slices.Contains(Extensions, name) {
			ext[name] = true
		}
	}
	return ext
}

// index fills the maps and finds names that are used twice.
func (c *Catalog) index() (problems []error) {
	slices.SortStableFunc(c.services, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	persistence := make(map[string]*Service)
	for _, s := range c.services {
		if c.byName[s.Name] != nil {
			problems = append(problems, fmt.Errorf("the service %s is announced twice; register it once", s.Name))
			continue
		}
		c.byName[s.Name] = s
		if o := c.byActor[s.ActorType]; o != nil {
			problems = append(problems, fmt.Errorf("the services %s and %s would both be the actor type %q; rename one with the setting %q",
				o.Name, s.Name, s.ActorType, "actorType."+s.Name))
		} else {
			c.byActor[s.ActorType] = s
		}
		if s.Kind == actors.Action {
			continue // it has no state
		}
		if o := persistence[s.Persistence]; o != nil {
			problems = append(problems, fmt.Errorf("the services %s and %s have the same persistence id %q and would share their entities' state; give each its own",
				o.Name, s.Name, s.Persistence))
		} else {
			persistence[s.Persistence] = s
		}
	}
	return append(problems, c.checkGroups()...)
}

// Files are the descriptors of all protobuf services and messages. They are not to be changed.
func (c *Catalog) Files() *protoregistry.Files { return c.files }

// Types finds the messages of Files.
func (c *Catalog) Types() *dynamicpb.Types { return c.types }

// Services returns all services, ordered by name. The slice is the caller's.
func (c *Catalog) Services() []*Service { return slices.Clone(c.services) }

// Service finds a service by its full name or by its actor type.
func (c *Catalog) Service(name string) (*Service, bool) {
	s, ok := c.byName[name]
	if !ok {
		s, ok = c.byActor[name]
	}
	return s, ok
}

// Equal reports whether both serve the same: services with their names, options and methods, extensions, and the
// descriptors of their messages. Versions of the user function and the order of things in the spec do not count.
func (c *Catalog) Equal(other *Catalog) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.digest == other.digest
}

// Method finds a method by its simple name. The error has the code Unimplemented.
func (s *Service) Method(name string) (*Method, error) {
	if m, ok := s.methods[name]; ok {
		return m, nil
	}
	return nil, actors.Errorf(actors.Unimplemented, "the service %s has no method %q; it has %s", s.Name, cut(name), list(s.Methods()))
}

// Methods returns the names of all methods, in order.
func (s *Service) Methods() []string { return slices.Sorted(maps.Keys(s.methods)) }

// list is for error texts: a handful of names.
func list(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	default:
		return strings.Join(names, ", ")
	}
}

// cut shortens a caller's own word for an error text.
func cut(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// digest is over a canonical form: every text with its length before it, services and files in the order of their names.
func digest(services []*Service, files []described) [sha256.Size]byte {
	h := sha256.New()
	for _, s := range services {
		texts(h, "service", s.Name, s.ActorType, s.Persistence, s.Kind.String(), s.Idle.String())
		texts(h, slices.Sorted(maps.Keys(s.Extensions))...)
		for _, name := range s.Methods() {
			m := s.methods[name]
			texts(h, "method", name, m.Input, m.Output, fmt.Sprint(m.StreamedIn, m.StreamedOut), m.Out)
			if m.In != nil {
				texts(h, "in", m.In.Group, m.In.Topic, m.In.Log)
			}
		}
	}
	for _, f := range files {
		texts(h, "file", f.file.GetName(), string(f.bytes))
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}

func texts(h hash.Hash, list ...string) {
	h.Write(binary.AppendUvarint(nil, uint64(len(list))))
	for _, s := range list {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		h.Write([]byte(s))
	}
}
