// Package profile is a sample: profiles of people, as a value entity whose messages are protobuf and which the
// component's gateway serves by REST and by gRPC. cmd/profile serves it.
package profile

//go:generate sh -c "cd ../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path samples/profile/profile.proto"

import (
	"context"
	"net/mail"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/value"
)

const service = "people.v1.Profiles"

// The methods that callers and the entity share; profile.proto has them too, with their REST routes.
const (
	// GetProfile shows the profile.
	GetProfile sdk.Method[*GetProfileRequest, *Profile] = service + "/GetProfile"
	// PutProfile makes the profile, or replaces all of it.
	PutProfile sdk.Method[*Profile, *Profile] = service + "/PutProfile"
	// RenameProfile changes the name alone.
	RenameProfile sdk.Method[*RenameProfileRequest, *Profile] = service + "/RenameProfile"
	// DeleteProfile takes the profile away.
	DeleteProfile sdk.Method[*DeleteProfileRequest, *emptypb.Empty] = service + "/DeleteProfile"
)

// Entity is the definition of the service. The value that is stored is the Profile itself.
var Entity = value.Entity[*Profile]{
	Service: service,
	Commands: []value.Command[*Profile]{
		value.Handle(GetProfile, getProfile),
		value.Handle(PutProfile, putProfile),
		value.Handle(RenameProfile, renameProfile),
		value.Handle(DeleteProfile, deleteProfile),
	},
	Idle: time.Minute,
}

// maxLanguages of one profile.
const maxLanguages = 20

type turn = value.Turn[*Profile]

func getProfile(_ context.Context, t *turn, _ *GetProfileRequest) (*Profile, error) {
	p, exists := t.Get()
	if !exists {
		return nil, missing(t)
	}
	return p, nil
}

func putProfile(_ context.Context, t *turn, in *Profile) (*Profile, error) {
	if err := check(in); err != nil {
		return nil, err
	}
	return set(t, in), nil
}

func renameProfile(_ context.Context, t *turn, in *RenameProfileRequest) (*Profile, error) {
	p, exists := t.Get()
	if !exists {
		return nil, missing(t)
	}
	p.Name = in.GetName()
	if err := check(p); err != nil {
		return nil, err
	}
	return set(t, p), nil
}

func deleteProfile(_ context.Context, t *turn, _ *DeleteProfileRequest) (*emptypb.Empty, error) {
	if _, exists := t.Get(); exists {
		t.Delete()
	}
	return new(emptypb.Empty), nil
}

// set makes p the profile, under the entity's own id whatever p says.
func set(t *turn, p *Profile) *Profile {
	p.Id, p.Revision = t.ID(), t.Sequence()+1
	t.Set(p)
	return p
}

func check(p *Profile) error {
	if p.GetName() == "" {
		return sdk.Errorf(sdk.CodeInvalidArgument, "the name is missing")
	}
	if email := p.GetEmail(); email != "" {
		if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
			return sdk.Errorf(sdk.CodeInvalidArgument, "the email is not an address such as ada@example.org")
		}
	}
	if n := len(p.GetLanguages()); n > maxLanguages {
		return sdk.Errorf(sdk.CodeOutOfRange, "the profile has %d languages, want %d at most", n, maxLanguages)
	}
	return nil
}

func missing(t *turn) error {
	return sdk.Errorf(sdk.CodeNotFound, "there is no profile %q", t.ID())
}
